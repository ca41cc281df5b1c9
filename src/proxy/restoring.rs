//! The last word of a greeting: a server is given the scripts that it may have lost.

use std::fmt::Write;
use std::sync::Arc;

use crate::io::Chain;
use crate::limits::SCRIPTS_ASKED_MAX;
use crate::proxy::scripts::{Script, Scripts, Sha};

/// What one server connection asks and tells of scripts, before its first request.
///
/// ```text
///   Begun --SCRIPT EXISTS for all--> Asked --all there------------------------> over
///                                     |  --SCRIPT LOAD for the rest--> Told --> over
///                                     |  refused: as if all were there
/// ```
///
/// It is looked at which scripts there are only when they are asked for, so that an attempt to
/// connect that fails costs nothing.
pub(crate) struct Restoring {
    scripts: Arc<Scripts>,
    stage: Stage,
    /// The first words in which the server refused something.
    complaint: Option<Vec<u8>>,
}

enum Stage {
    Begun,
    /// SCRIPT EXISTS was said for `asked`, some at a time, and so many have been `answered`.
    Asked {
        asked: Vec<Script>,
        missing: Vec<Script>,
        answered: usize,
    },
    /// SCRIPT LOAD was said for each of `told`, and so many have been `answered`.
    Told {
        told: Vec<Script>,
        answered: usize,
    },
}

/// The name of no script.
const NOBODY: Sha = [b'0'; 40];

/// What follows from a reply.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Another reply is to come.
    Wait,
    /// Something more is to be said.
    Say,
    Over,
    /// The server cannot serve now: its words are for whoever waits.
    Refused,
    /// It is not an answer to this.
    Doubt,
}

impl Restoring {
    /// What a new connection says of `scripts`; `None` if there is none.
    pub(crate) fn new(scripts: &Arc<Scripts>) -> Option<Self> {
        if scripts.is_empty() {
            return None;
        }
        Some(Self { scripts: Arc::clone(scripts), stage: Stage::Begun, complaint: None })
    }

    /// What is to be said now.
    pub(crate) fn take(&mut self) -> Chain {
        let mut output = Chain::new();
        match &mut self.stage {
            Stage::Begun => {
                let mut asked = self.scripts.all();
                if asked.is_empty() {
                    // They were flushed meanwhile. The question has an answer all the same.
                    asked.push(Script { sha: NOBODY, body: Arc::from([]) });
                }
                for some in asked.chunks(SCRIPTS_ASKED_MAX) {
                    append_question(some, &mut output);
                }
                self.stage = Stage::Asked { asked, missing: Vec::new(), answered: 0 };
            }
            Stage::Asked { missing, .. } => {
                let told = std::mem::take(missing);
                told.iter().for_each(|script| append_script(&script.body, &mut output));
                self.stage = Stage::Told { told, answered: 0 };
            }
            Stage::Told { .. } => {}
        }
        output
    }

    /// Hears one reply.
    pub(crate) fn hear(&mut self, reply: &[u8]) -> Next {
        let is_error = reply.starts_with(b"-");
        if is_error && (reply.starts_with(b"-LOADING ") || reply.starts_with(b"-BUSY ")) {
            return Next::Refused;
        }
        if is_error && self.complaint.is_none() {
            self.complaint = Some(reply.to_vec());
        }
        match &mut self.stage {
            Stage::Begun => Next::Doubt,
            Stage::Asked { asked, missing, answered } => {
                let some = asked.len().min(*answered + SCRIPTS_ASKED_MAX);
                let some = &asked[*answered..some];
                if !is_error {
                    let Some(there) = answers(reply).filter(|it| it.len() == some.len()) else {
                        return Next::Doubt;
                    };
                    let lost = some.iter().zip(there).filter(|(_, there)| !there);
                    let lost = lost.map(|(script, _)| script).filter(|it| it.sha != NOBODY);
                    missing.extend(lost.cloned());
                }
                *answered += some.len();
                if *answered < asked.len() {
                    return Next::Wait;
                }
                if missing.is_empty() { Next::Over } else { Next::Say }
            }
            Stage::Told { told, answered } => {
                let Some(script) = told.get(*answered) else { return Next::Doubt };
                match reply.first() {
                    Some(b'$' | b'+') => {}
                    Some(b'-') if reply.starts_with(b"-ERR Error compiling script") => {
                        self.scripts.forget(&script.sha);
                    }
                    Some(b'-') => {}
                    Some(_) | None => return Next::Doubt,
                }
                *answered += 1;
                if *answered < told.len() { Next::Wait } else { Next::Over }
            }
        }
    }

    /// What the log should say of it.
    pub(crate) fn complaint(&self) -> Option<String> {
        let words = self.complaint.as_ref()?;
        let line = words.strip_suffix(b"\r\n").unwrap_or(words);
        Some(line.escape_ascii().to_string())
    }
}

/// The reply to SCRIPT EXISTS: for each script, whether it is there.
fn answers(reply: &[u8]) -> Option<Vec<bool>> {
    let text = std::str::from_utf8(reply).ok()?;
    let (head, rest) = text.strip_prefix('*')?.split_once("\r\n")?;
    let each: Option<Vec<bool>> = rest
        .split_terminator("\r\n")
        .map(|line| match line {
            ":1" => Some(true),
            ":0" => Some(false),
            _ => None,
        })
        .collect();
    each.filter(|each| head.parse() == Ok(each.len()))
}

fn append_question(scripts: &[Script], output: &mut Chain) {
    let mut head = format!("*{}\r\n$6\r\nSCRIPT\r\n$6\r\nEXISTS\r\n", 2 + scripts.len());
    for script in scripts {
        head.push_str("$40\r\n");
        script.sha.iter().for_each(|&digit| head.push(char::from(digit)));
        head.push_str("\r\n");
    }
    output.push_copy(head.as_bytes());
}

fn append_script(body: &[u8], output: &mut Chain) {
    let mut head = "*3\r\n$6\r\nSCRIPT\r\n$4\r\nLOAD\r\n".to_owned();
    write!(head, "${}\r\n", body.len()).expect("a string takes everything");
    output.push_copy(head.as_bytes());
    output.push_copy(body);
    output.push_copy(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::scripts::tests::loaded;

    fn restoring(bodies: &[&str]) -> (Arc<Scripts>, Restoring) {
        let scripts = Arc::new(loaded(bodies));
        let restoring = Restoring::new(&scripts).expect("there are some");
        (scripts, restoring)
    }

    fn said(restoring: &mut Restoring) -> String {
        String::from_utf8(restoring.take().to_vec()).expect("text")
    }

    const SHA: &[u8] = b"$40\r\ne0e1f9fabfc9d4800c877a703b823ac0578ff8db\r\n";

    #[test]
    fn only_what_a_server_lacks_is_given_to_it() {
        let (_, mut restoring) = restoring(&["return 1", "return 2", "return 3"]);
        let question = said(&mut restoring);
        assert!(question.starts_with("*5\r\n$6\r\nSCRIPT\r\n$6\r\nEXISTS\r\n$40\r\ne0e1f9fa"));
        assert_eq!(restoring.hear(b"*3\r\n:0\r\n:1\r\n:0\r\n"), Next::Say);
        let load = |body| format!("*3\r\n$6\r\nSCRIPT\r\n$4\r\nLOAD\r\n$8\r\n{body}\r\n");
        assert_eq!(said(&mut restoring), load("return 1") + &load("return 3"));
        assert_eq!(restoring.hear(SHA), Next::Wait);
        assert_eq!(restoring.hear(SHA), Next::Over);
        assert_eq!(restoring.complaint(), None);
    }

    #[test]
    fn nothing_is_given_to_a_server_that_has_all_or_does_not_say() {
        for reply in [&b"*1\r\n:1\r\n"[..], b"-NOPERM no\r\n", b"-ERR unknown command\r\n"] {
            let (_, mut restoring) = restoring(&["a"]);
            said(&mut restoring);
            assert_eq!(restoring.hear(reply), Next::Over);
            assert_eq!(restoring.complaint().is_some(), reply[0] == b'-');
        }
    }

    #[test]
    fn a_server_that_cannot_serve_now_is_not_used_without_its_scripts() {
        for reply in [&b"-LOADING wait\r\n"[..], b"-BUSY wait\r\n"] {
            let (_, mut restoring) = restoring(&["a"]);
            said(&mut restoring);
            assert_eq!(restoring.hear(reply), Next::Refused);
        }
    }

    #[test]
    fn what_is_no_script_is_forgotten() {
        let (scripts, mut restoring) = restoring(&["(", "return 1"]);
        said(&mut restoring);
        assert_eq!(restoring.hear(b"*2\r\n:0\r\n:0\r\n"), Next::Say);
        said(&mut restoring);
        let words = b"-ERR Error compiling script (new function): user_script:1: no\r\n";
        assert_eq!(restoring.hear(words), Next::Wait);
        assert_eq!(restoring.hear(SHA), Next::Over);
        assert!(restoring.complaint().expect("it is said").contains("compiling"));
        assert_eq!(scripts.all().len(), 1);
    }

    #[test]
    fn many_are_asked_for_in_several_questions_at_once() {
        let bodies: Vec<String> = (0..SCRIPTS_ASKED_MAX + 1).map(|n| n.to_string()).collect();
        let (_, mut restoring) = restoring(&bodies.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(said(&mut restoring).matches("EXISTS").count(), 2);
        let all = format!("*{SCRIPTS_ASKED_MAX}\r\n{}", ":1\r\n".repeat(SCRIPTS_ASKED_MAX));
        assert_eq!(restoring.hear(all.as_bytes()), Next::Wait);
        assert_eq!(restoring.hear(b"*1\r\n:0\r\n"), Next::Say);
        assert_eq!(said(&mut restoring).matches("LOAD").count(), 1);
    }

    #[test]
    fn a_flush_in_between_leaves_nothing_to_give() {
        let (scripts, mut restoring) = restoring(&["a"]);
        scripts.clear();
        assert!(said(&mut restoring).starts_with("*3\r\n"));
        assert_eq!(restoring.hear(b"*1\r\n:0\r\n"), Next::Over);
    }

    #[test]
    fn any_other_answer_is_a_doubt() {
        let others: [&[u8]; 6] =
            [b"+OK\r\n", b"*2\r\n:1\r\n:1\r\n", b"*1\r\n:2\r\n", b"*1\r\n", b":1\r\n", b""];
        for reply in others {
            let (_, mut restoring) = restoring(&["a"]);
            assert_eq!(restoring.hear(reply), Next::Doubt);
            said(&mut restoring);
            assert_eq!(restoring.hear(reply), Next::Doubt, "{}", reply.escape_ascii());
        }
    }
}
