//! Which commands the clients of a pool may say: its rules, looked up before anything else.

use std::sync::Arc;

use crate::config::{CommandRules, Modules, Which};
use crate::proto::Request;
use crate::proto::commands::{self, Command, Local, Names, Serve};
use crate::proxy::client::Account;
use crate::proxy::pools::Pools;
use crate::proxy::source::Source;
use crate::proxy::{dispatch, reject, transaction};

/// The rules of a pool, worked out for every command of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// By the command's number. What is not in the table is not judged.
    verdicts: Box<[Verdict]>,
    /// The verdicts of commands whose own name is taken away.
    behind: Box<[(u16, Verdict)]>,
    names: Option<Arc<Names>>,
}

/// What becomes of a request, as far as its command decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Served,
    /// The table denies it unless a pool allows it.
    Denied,
    /// The pool's own rules deny it.
    Ruled,
    /// By this name there is no such command.
    Nameless,
}

impl Policy {
    /// Works out the rules of a pool.
    pub fn new(rules: &CommandRules) -> Self {
        let mut verdicts: Box<[Verdict]> =
            commands::all().iter().map(|command| verdict(rules, command)).collect();
        let mut behind = Vec::new();
        let mut renamed = Vec::new();
        for (first, name) in &rules.rename {
            for row in commands::all().iter().filter(|row| row.first_word() == first.name) {
                let place = &mut verdicts[usize::from(row.number)];
                behind.push((row.number, *place));
                *place = Verdict::Nameless;
            }
            renamed.extend(name.clone().map(|name| (name, *first)));
        }
        let takes_any = rules.modules == Modules::FirstKey;
        let has_names = takes_any || !renamed.is_empty();
        let names = has_names.then(|| Arc::new(Names::new(renamed, takes_any)));
        Self { verdicts, behind: behind.into(), names }
    }

    /// Names that its clients' parsers know beside those of the table.
    pub(crate) fn names(&self) -> Option<Arc<Names>> {
        self.names.clone()
    }

    /// Whether clients may say a command, by whatever name.
    pub fn serves(&self, command: &Command) -> bool {
        let number = command.number;
        let found = self.behind.iter().find(|(behind, _)| *behind == number);
        let verdict = found.map_or_else(|| self.of(number), |&(_, verdict)| verdict);
        verdict == Verdict::Served
    }

    #[inline]
    fn of(&self, number: u16) -> Verdict {
        self.verdicts.get(usize::from(number)).copied().unwrap_or(Verdict::Served)
    }

    #[cold]
    fn of_renamed(&self, number: u16) -> Verdict {
        let found = self.behind.iter().find(|(behind, _)| *behind == number);
        found.map_or(Verdict::Nameless, |&(_, verdict)| verdict)
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::new(&CommandRules::default())
    }
}

/// The narrowest entry decides, and of two of the same kind the one that denies; without any, the
/// table. What a connection begins and ends with is denied by name only, as in Redis (`acl.c`,
/// `ACLSelectorCheckCmd`): a category that holds AUTH is meant for others.
fn verdict(rules: &CommandRules, command: &Command) -> Verdict {
    let by_name_only = command.flags.is_for_strangers();
    let rank = |list: &[Which]| {
        let holding = list.iter().filter(|which| which.holds(command));
        holding.map(|which| which.rank()).max()
    };
    let denied = rank(&rules.deny).filter(|&rank| !by_name_only || rank > WIDE);
    match (denied, rank(&rules.allow)) {
        (Some(denied), allowed) if Some(denied) >= allowed => Verdict::Ruled,
        (_, Some(_)) => Verdict::Served,
        (_, None) if command.denied => Verdict::Denied,
        (_, None) => Verdict::Served,
    }
}

/// The rank of entries that name no command.
const WIDE: u32 = 1;

/// What the pool has decided about the command of a request; served if there is no such command.
#[inline]
pub(crate) fn judge(pools: &Pools, account: &Account, request: &Request) -> Verdict {
    let Some(command) = request.command else { return Verdict::Served };
    let policy = &pools.pools[account.pool as usize].setup.policy;
    if request.renamed { policy.of_renamed(command.number) } else { policy.of(command.number) }
}

/// Answers a request that is not served by this verdict.
#[cold]
pub(crate) fn refuse(
    pools: &mut Pools,
    account: &mut Account,
    command: &Command,
    request: &Request,
    verdict: Verdict,
    source: Source<'_>,
) {
    pools.words.clear();
    match verdict {
        Verdict::Served => unreachable!("it is not refused"),
        // Clients that begin with HELLO do without where it is unknown, and only there.
        Verdict::Denied | Verdict::Ruled if command.serve == Serve::Local(Local::Hello) => {
            reject::unknown(request, &source, &mut pools.words);
        }
        Verdict::Nameless => reject::unknown(request, &source, &mut pools.words),
        Verdict::Denied | Verdict::Ruled if !command.arity_fits(request.arguments) => {
            reject::wrong_arity(command, &mut pools.words);
        }
        Verdict::Denied | Verdict::Ruled => {
            let pool = &pools.pools[account.pool as usize].setup.name;
            let by_table = verdict == Verdict::Denied;
            reject::denied(command, pool, by_table, &mut pools.words);
        }
    }
    transaction::on_refused(pools, account, request);
    dispatch::answer(pools, account, source);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(allow: &[&str], deny: &[&str]) -> CommandRules {
        let read = |list: &[&str]| list.iter().map(|text| Which::read(text).unwrap()).collect();
        CommandRules { allow: read(allow), deny: read(deny), ..CommandRules::default() }
    }

    fn of(rules: &CommandRules, name: &str) -> Verdict {
        let command = commands::all().iter().find(|command| command.name == name).unwrap();
        Policy::new(rules).of(command.number)
    }

    #[test]
    fn a_narrower_entry_wins_and_of_two_alike_the_one_that_denies() {
        use Verdict::{Denied, Ruled, Served};
        type Case = (&'static [&'static str], &'static [&'static str], &'static str, Verdict);
        let cases: [Case; 19] = [
            (&[], &[], "get", Served),
            (&[], &[], "flushall", Denied),
            (&["flushall"], &[], "flushall", Served),
            (&["flushall"], &[], "flushdb", Denied),
            (&["@dangerous"], &[], "flushall", Served),
            (&["@all"], &[], "flushall", Served),
            (&["flushall"], &["@dangerous"], "flushall", Served),
            (&["flushall"], &["flushall"], "flushall", Ruled),
            (&["@dangerous"], &["@dangerous"], "flushall", Ruled),
            (&["@write"], &["@dangerous"], "flushall", Ruled),
            (&["@all"], &["@dangerous"], "flushall", Ruled),
            (&[], &["@write"], "set", Ruled),
            (&[], &["@write"], "get", Served),
            (&["@read"], &["@all"], "get", Served),
            (&["@read"], &["@all"], "set", Ruled),
            (&["script"], &["@all"], "script|flush", Served),
            (&["script"], &["script|flush"], "script|flush", Ruled),
            (&["script"], &["script|flush"], "script|load", Served),
            (&["script|flush"], &["script"], "script|flush", Served),
        ];
        for (allow, deny, name, expected) in cases {
            let found = of(&rules(allow, deny), name);
            assert_eq!(found, expected, "{name} with allow {allow:?} and deny {deny:?}");
        }
    }

    #[test]
    fn what_a_connection_begins_with_is_denied_by_name_only() {
        for name in ["hello", "auth", "quit", "reset"] {
            let wide = rules(&[], &["@all", "@connection", "@fast", "@slow"]);
            assert_eq!(of(&wide, name), Verdict::Served, "{name}");
            assert_eq!(of(&rules(&[], &[name]), name), Verdict::Ruled, "{name}");
        }
        assert_eq!(of(&rules(&[], &["@connection"]), "ping"), Verdict::Ruled);
    }

    #[test]
    fn a_renamed_command_has_its_new_name_only_and_its_verdict_behind_it() {
        let first = |name: &str| commands::lookup(name.as_bytes()).unwrap();
        let (get, flushall, config) = (first("get"), first("flushall"), first("config"));
        let rename = vec![
            (get, Some("fetch".to_owned())),
            (flushall, Some("wipe".to_owned())),
            (config, None),
        ];
        let policy = Policy::new(&CommandRules { rename, ..CommandRules::default() });
        assert_eq!(policy.of(get.number), Verdict::Nameless);
        assert_eq!(policy.of_renamed(get.number), Verdict::Served);
        assert_eq!(policy.of_renamed(flushall.number), Verdict::Denied);
        let config_get = commands::lookup_second(config, b"get").unwrap();
        assert_eq!(policy.of(config_get.number), Verdict::Nameless);
        let names = policy.names().unwrap();
        assert_eq!((names.find(b"fetch"), names.find(b"config")), (Some(get), None));
        assert!(policy.serves(get) && !policy.serves(flushall));
    }

    #[test]
    fn nothing_that_the_table_does_not_deny_is_denied_without_rules() {
        let policy = Policy::default();
        for command in commands::all() {
            assert_eq!(policy.serves(command), !command.denied, "{}", command.name);
        }
        assert_eq!((policy.of(commands::UNLISTED), policy.names()), (Verdict::Served, None));
    }
}
