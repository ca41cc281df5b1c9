//! What each case does.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::thread;
use std::time::{Duration, Instant};

use redis::{
    Client, Commands, Connection, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, Msg,
    ProtocolVersion, RedisConnectionInfo, RedisError, TypedCommands,
};

use crate::{Outcome, Surroundings};

/// One case.
type Case = fn(&Surroundings) -> Outcome;

/// All of them, in the order in which they are run.
pub const CASES: [(&str, Case); 19] = [
    ("connect", connect),
    ("set_get", set_get),
    ("mget", mget),
    ("pipeline", pipeline),
    ("binary", binary),
    ("large", large),
    ("password", password),
    ("wrong_password", wrong_password),
    ("missing_password", missing_password),
    ("user_and_password", user_and_password),
    ("transaction", transaction),
    ("watch", watch),
    ("blocking_pop", blocking_pop),
    ("blocking_pop_times_out", blocking_pop_times_out),
    ("subscribe", subscribe),
    ("psubscribe", psubscribe),
    ("scan", scan),
    ("resp2", resp2),
    ("resp3", resp3),
];

fn words(error: RedisError) -> String {
    error.to_string()
}

fn expect<T: PartialEq + Debug>(got: T, wanted: T) -> Outcome {
    if got == wanted { Ok(()) } else { Err(format!("got {got:.100?}, wanted {wanted:.100?}")) }
}

fn connected_with(port: u16, settings: RedisConnectionInfo) -> Result<Connection, String> {
    let address = ConnectionAddr::Tcp("127.0.0.1".to_owned(), port);
    let info: ConnectionInfo = address.into_connection_info().map_err(words)?;
    let client = Client::open(info.set_redis_settings(settings)).map_err(words)?;
    client.get_connection().map_err(words)
}

fn connected_to(port: u16) -> Result<Connection, String> {
    connected_with(port, RedisConnectionInfo::default())
}

fn connected(at: &Surroundings) -> Result<Connection, String> {
    connected_to(at.port)
}

fn every_byte() -> Vec<u8> {
    (0..=255).collect()
}

fn numbered(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}:{number}")).collect()
}

fn connect(at: &Surroundings) -> Outcome {
    expect(TypedCommands::ping(&mut connected(at)?).map_err(words)?, "PONG".to_owned())
}

fn set_get(at: &Surroundings) -> Outcome {
    let mut redis = connected(at)?;
    TypedCommands::set(&mut redis, "set_get", "a value").map_err(words)?;
    let got = TypedCommands::get(&mut redis, "set_get").map_err(words)?;
    expect(got, Some("a value".to_owned()))?;
    expect(TypedCommands::get(&mut redis, "set_get:missing").map_err(words)?, None)?;
    expect(TypedCommands::del(&mut redis, "set_get").map_err(words)?, 1)
}

fn mget(at: &Surroundings) -> Outcome {
    let mut redis = connected(at)?;
    let keys = numbered("mget", 50);
    let pairs: Vec<_> = keys.iter().map(|key| (key, key)).collect();
    TypedCommands::mset(&mut redis, &pairs).map_err(words)?;
    let mut wanted: Vec<Option<String>> = keys.iter().cloned().map(Some).collect();
    wanted.push(None);
    let mut asked = keys;
    asked.push("mget:missing".to_owned());
    let got: Vec<Option<String>> = Commands::mget(&mut redis, &asked).map_err(words)?;
    expect(got, wanted)
}

fn pipeline(at: &Surroundings) -> Outcome {
    let mut pipe = redis::pipe();
    let keys = numbered("pipeline", 50);
    for key in &keys {
        pipe.set(key, key).ignore().get(key);
    }
    let got: Vec<String> = pipe.query(&mut connected(at)?).map_err(words)?;
    expect(got, keys)
}

fn round_trip(at: &Surroundings, key: &[u8], value: &[u8]) -> Outcome {
    let mut redis = connected(at)?;
    let () = Commands::set(&mut redis, key, value).map_err(words)?;
    let got: Vec<u8> = Commands::get(&mut redis, key).map_err(words)?;
    expect(got.as_slice(), value)
}

fn binary(at: &Surroundings) -> Outcome {
    let mut key = b"binary:".to_vec();
    key.extend(every_byte());
    round_trip(at, &key, &every_byte())
}

fn large(at: &Surroundings) -> Outcome {
    round_trip(at, b"large", &every_byte().repeat(4096))
}

fn guarded(at: &Surroundings, user: Option<&str>, word: Option<&str>) -> Result<String, String> {
    let mut settings = RedisConnectionInfo::default();
    if let Some(user) = user {
        settings = settings.set_username(user);
    }
    if let Some(word) = word {
        settings = settings.set_password(word);
    }
    let mut redis = connected_with(at.port_with_password, settings)?;
    let () = Commands::set(&mut redis, "guarded", "1").map_err(words)?;
    Commands::get(&mut redis, "guarded").map_err(words)
}

/// The library has words of its own for a refused password, the servers' for a missing one.
fn expect_refused(got: Result<String, String>, text: &str) -> Outcome {
    match got {
        Ok(_) => Err("it was let in".to_owned()),
        Err(why) if why.contains(text) => Ok(()),
        Err(why) => Err(why),
    }
}

fn password(at: &Surroundings) -> Outcome {
    expect(guarded(at, None, Some(&at.password))?, "1".to_owned())
}

fn wrong_password(at: &Surroundings) -> Outcome {
    expect_refused(guarded(at, None, Some("wrong")), "AuthenticationFailed")
}

fn missing_password(at: &Surroundings) -> Outcome {
    expect_refused(guarded(at, None, None), "NOAUTH")
}

fn user_and_password(at: &Surroundings) -> Outcome {
    expect(guarded(at, Some("default"), Some(&at.password))?, "1".to_owned())?;
    expect_refused(guarded(at, Some("nobody"), Some(&at.password)), "AuthenticationFailed")
}

fn transaction(at: &Surroundings) -> Outcome {
    let mut pipe = redis::pipe();
    pipe.atomic();
    for key in numbered("{transaction}", 50) {
        pipe.incr("{transaction}:count", 1).set(key, 1).ignore();
    }
    let got: Vec<i64> = pipe.query(&mut connected(at)?).map_err(words)?;
    expect(got, (1..=50).collect())
}

/// The library repeats what it is given until no key that it watches was touched.
fn watch(at: &Surroundings) -> Outcome {
    let (mut redis, mut other) = (connected(at)?, connected(at)?);
    let () = Commands::set(&mut redis, "watch", 1).map_err(words)?;
    for touched in [false, true] {
        let mut attempts = 0;
        redis::transaction(&mut redis, &["watch"], |redis, pipe| {
            let seen: i64 = Commands::get(redis, "watch")?;
            attempts += 1;
            if touched && attempts == 1 {
                let () = Commands::set(&mut other, "watch", 10)?;
            }
            pipe.set("watch", seen + 1).ignore().query::<Option<()>>(redis)
        })
        .map_err(words)?;
        expect(attempts, 1 + usize::from(touched))?;
    }
    expect(Commands::get(&mut redis, "watch").map_err(words)?, 11)
}

fn is_one_blocked(servers: &mut [Connection]) -> bool {
    servers.iter_mut().any(|server| {
        let info: Result<String, _> = redis::cmd("INFO").arg("clients").query(server);
        info.is_ok_and(|text| {
            text.contains("blocked_clients:") && !text.contains("blocked_clients:0")
        })
    })
}

fn blocking_pop(at: &Surroundings) -> Outcome {
    let (mut redis, mut other) = (connected(at)?, connected(at)?);
    let mut servers =
        at.servers.iter().map(|&port| connected_to(port)).collect::<Result<Vec<_>, _>>()?;
    let end = Instant::now() + at.limit;
    let pusher = thread::spawn(move || {
        while !is_one_blocked(&mut servers) {
            if Instant::now() > end {
                return Err("no client was blocked".to_owned());
            }
            thread::sleep(Duration::from_millis(5));
        }
        TypedCommands::rpush(&mut other, "blocking", "pushed").map_err(words)
    });
    let popped = TypedCommands::blpop(&mut redis, "blocking", 0.0).map_err(words)?;
    expect(popped, Some(["blocking".to_owned(), "pushed".to_owned()]))?;
    pusher.join().map_err(|_| "the pusher panicked".to_owned())??;
    expect(TypedCommands::ping(&mut redis).map_err(words)?, "PONG".to_owned())
}

fn blocking_pop_times_out(at: &Surroundings) -> Outcome {
    let mut redis = connected(at)?;
    let begin = Instant::now();
    expect(TypedCommands::brpop(&mut redis, "blocking:empty", 1.0).map_err(words)?, None)?;
    expect(begin.elapsed() > Duration::from_millis(900), true)?;
    expect(TypedCommands::ping(&mut redis).map_err(words)?, "PONG".to_owned())
}

fn heard(message: &Msg) -> (String, Vec<u8>) {
    (message.get_channel_name().to_owned(), message.get_payload_bytes().to_vec())
}

fn subscribe(at: &Surroundings) -> Outcome {
    let (mut redis, mut subscriber) = (connected(at)?, connected(at)?);
    let mut subscription = subscriber.as_pubsub();
    let channels = numbered("subscribe", 8);
    subscription.subscribe(&channels).map_err(words)?;
    for channel in &channels {
        let count = TypedCommands::publish(&mut redis, channel, every_byte()).map_err(words)?;
        expect(count, 1)?;
        let message = subscription.get_message().map_err(words)?;
        expect(heard(&message), (channel.clone(), every_byte()))?;
    }
    subscription.unsubscribe(&channels).map_err(words)?;
    drop(subscription);
    expect(TypedCommands::publish(&mut redis, &channels[0], "unheard").map_err(words)?, 0)?;
    expect(TypedCommands::ping(&mut subscriber).map_err(words)?, "PONG".to_owned())
}

fn psubscribe(at: &Surroundings) -> Outcome {
    let (mut redis, mut subscriber) = (connected(at)?, connected(at)?);
    let mut subscription = subscriber.as_pubsub();
    subscription.psubscribe("psubscribe:*").map_err(words)?;
    for channel in numbered("psubscribe", 8) {
        TypedCommands::publish(&mut redis, &channel, &channel).map_err(words)?;
        let message = subscription.get_message().map_err(words)?;
        let pattern: String = message.get_pattern().map_err(words)?;
        expect(pattern.as_str(), "psubscribe:*")?;
        expect(heard(&message), (channel.clone(), channel.into_bytes()))?;
    }
    drop(subscription);
    expect(TypedCommands::ping(&mut subscriber).map_err(words)?, "PONG".to_owned())
}

fn scan(at: &Surroundings) -> Outcome {
    let mut redis = connected(at)?;
    let keys: BTreeSet<String> = numbered("scan", 500).into_iter().collect();
    let pairs: Vec<_> = keys.iter().map(|key| (key, 1)).collect();
    TypedCommands::mset(&mut redis, &pairs).map_err(words)?;
    // Other cases have left keys whose bytes are no text.
    let all: BTreeSet<Vec<u8>> =
        Commands::scan(&mut redis).and_then(Iterator::collect).map_err(words)?;
    expect(keys.iter().filter(|key| !all.contains(key.as_bytes())).count(), 0)?;
    let matching: BTreeSet<String> =
        Commands::scan_match(&mut redis, "scan:*").and_then(Iterator::collect).map_err(words)?;
    expect(matching, keys)
}

fn shapes(redis: &mut Connection) -> Outcome {
    let () = Commands::del(redis, &["shapes:hash", "shapes:sorted"]).map_err(words)?;
    let hash = BTreeMap::from([("a", "1"), ("b", "2")].map(|(k, v)| (k.to_owned(), v.to_owned())));
    let pairs: Vec<_> = hash.iter().collect();
    let () = Commands::hset_multiple(redis, "shapes:hash", &pairs).map_err(words)?;
    let () = Commands::zadd_multiple(redis, "shapes:sorted", &[(1.5, "a"), (2.0, "b")])
        .map_err(words)?;
    let got: BTreeMap<String, String> = Commands::hgetall(redis, "shapes:hash").map_err(words)?;
    expect(got, hash)?;
    let scored: Vec<(String, f64)> =
        Commands::zrange_withscores(redis, "shapes:sorted", 0, -1).map_err(words)?;
    expect(scored, vec![("a".to_owned(), 1.5), ("b".to_owned(), 2.0)])?;
    expect(TypedCommands::get(redis, "shapes:missing").map_err(words)?, None)
}

fn speaking(at: &Surroundings, protocol: ProtocolVersion) -> Result<Connection, String> {
    connected_with(at.port, RedisConnectionInfo::default().set_protocol(protocol))
}

fn resp2(at: &Surroundings) -> Outcome {
    shapes(&mut speaking(at, ProtocolVersion::RESP2)?)
}

fn resp3(at: &Surroundings) -> Outcome {
    let mut redis = speaking(at, ProtocolVersion::RESP3)?;
    let hello: redis::Value = redis::cmd("HELLO").query(&mut redis).map_err(words)?;
    let redis::Value::Map(fields) = hello else {
        return Err(format!("no map: {hello:?}"));
    };
    let proto = (redis::Value::BulkString(b"proto".to_vec()), redis::Value::Int(3));
    expect(fields.contains(&proto), true)?;
    shapes(&mut redis)
}
