<?php
// The cases of the client matrix for phpredis: `ok NAME` or `FAIL NAME why`, one line for each.
//
// Everything not named here is left at the library's default. The library has no RESP3. Each case
// is a process, as nothing else ends a call that waits for ever.

declare(strict_types=1);

$port = (int) getenv('PORT');
$portWithPassword = (int) getenv('PORT_WITH_PASSWORD');
$password = getenv('PASSWORD');
$servers = array_map('intval', explode(',', getenv('SERVERS')));
$limitSeconds = (int) getenv('LIMIT_SECONDS');
$everyByte = implode('', array_map('chr', range(0, 255)));

function client(?int $at = null): Redis
{
    global $port;
    $redis = new Redis();
    $redis->connect('127.0.0.1', $at ?? $port);
    return $redis;
}

function expect(mixed $got, mixed $wanted): void
{
    if ($got !== $wanted) {
        $words = array_map(fn ($it) => substr(json_encode($it) ?: 'bytes', 0, 150), [$got, $wanted]);
        throw new Exception("got $words[0], wanted $words[1]");
    }
}

function expectRefused(callable $call, string $text): void
{
    try {
        $got = $call();
    } catch (RedisException $refusal) {
        if (!str_contains($refusal->getMessage(), $text)) {
            throw $refusal;
        }
        return;
    }
    throw new Exception('it was let in: ' . json_encode($got));
}

// Runs `$act` in a process of its own.
function beside(callable $act): int
{
    $child = pcntl_fork();
    if ($child === 0) {
        $act();
        posix_kill(getmypid(), SIGKILL);
    }
    return $child;
}

// Waits until a server says that a client waits there.
function untilBlocked(): void
{
    global $servers;
    $direct = array_map('client', $servers);
    while (true) {
        foreach ($direct as $server) {
            if ($server->info('clients')['blocked_clients'] > 0) {
                return;
            }
        }
        usleep(5000);
    }
}

$cases = [
    'connect' => function () {
        expect(client()->ping(), true);
    },
    'set_get' => function () {
        $redis = client();
        expect($redis->set('set_get', 'a value'), true);
        expect($redis->get('set_get'), 'a value');
        expect($redis->get('set_get:missing'), false);
        expect($redis->del('set_get'), 1);
    },
    'mget' => function () {
        $redis = client();
        $values = [];
        foreach (range(0, 49) as $number) {
            $values["mget:$number"] = "$number";
        }
        expect($redis->mset($values), true);
        $keys = [...array_keys($values), 'mget:missing'];
        expect($redis->mget($keys), [...array_values($values), false]);
    },
    'pipeline' => function () {
        $pipeline = client()->pipeline();
        $wanted = [];
        foreach (range(0, 49) as $number) {
            $pipeline->set("pipeline:$number", "$number")->get("pipeline:$number");
            array_push($wanted, true, "$number");
        }
        expect($pipeline->exec(), $wanted);
    },
    'binary' => function () use ($everyByte) {
        $redis = client();
        expect($redis->set("binary:$everyByte", $everyByte), true);
        expect($redis->get("binary:$everyByte"), $everyByte);
    },
    'large' => function () use ($everyByte) {
        $redis = client();
        $value = str_repeat($everyByte, 4096);
        expect($redis->set('large', $value), true);
        expect($redis->get('large') === $value, true);
    },
    'password' => function () use ($portWithPassword, $password) {
        $redis = client($portWithPassword);
        expect($redis->auth($password), true);
        expect($redis->set('password', '1'), true);
        expect($redis->get('password'), '1');
    },
    'wrong_password' => function () use ($portWithPassword) {
        expectRefused(fn () => client($portWithPassword)->auth('wrong'), 'WRONGPASS');
    },
    'missing_password' => function () use ($portWithPassword) {
        expectRefused(fn () => client($portWithPassword)->get('a'), 'NOAUTH');
    },
    'user_and_password' => function () use ($portWithPassword, $password) {
        $redis = client($portWithPassword);
        expect($redis->auth(['default', $password]), true);
        expect($redis->set('user', '1'), true);
        expect($redis->get('user'), '1');
        $nobody = client($portWithPassword);
        expectRefused(fn () => $nobody->auth(['nobody', $password]), 'WRONGPASS');
    },
    'transaction' => function () {
        $multi = client()->multi();
        $wanted = [];
        foreach (range(0, 49) as $number) {
            $multi->incr('{transaction}:count')->set("{transaction}:$number", "$number");
            array_push($wanted, $number + 1, true);
        }
        expect($multi->exec(), $wanted);
    },
    'watch' => function () {
        [$redis, $other] = [client(), client()];
        $redis->set('watch', '1');
        foreach ([false, true] as $touched) {
            expect($redis->watch('watch'), true);
            $seen = (int) $redis->get('watch');
            if ($touched) {
                $other->set('watch', '10');
            }
            $replies = $redis->multi()->set('watch', (string) ($seen + 1))->exec();
            expect($replies, $touched ? false : [true]);
        }
        expect($redis->get('watch'), '10');
    },
    'blocking_pop' => function () use ($limitSeconds) {
        beside(function () {
            untilBlocked();
            client()->rPush('blocking', 'pushed');
        });
        $redis = client();
        expect($redis->blPop('blocking', $limitSeconds), ['blocking', 'pushed']);
        expect($redis->ping(), true);
    },
    'blocking_pop_times_out' => function () {
        $redis = client();
        $begin = microtime(true);
        expect($redis->brPop('blocking:empty', 1), []);
        expect(microtime(true) - $begin > 0.9, true);
        expect($redis->ping(), true);
    },
    // A message is published where the one before it arrived: before the first, by a process that
    // waits until it is heard.
    'subscribe' => function () use ($everyByte) {
        $channels = array_map(fn ($number) => "subscribe:$number", range(0, 7));
        beside(function () use ($channels, $everyByte) {
            $publisher = client();
            while ($publisher->publish($channels[7], $everyByte) !== 1) {
                usleep(5000);
            }
        });
        $publisher = client();
        $heard = [];
        $listen = function ($redis, $channel, $message) use (&$heard, $publisher, $everyByte) {
            expect($message, $everyByte);
            $heard[] = $channel;
            if (count($heard) < 8) {
                expect($publisher->publish('subscribe:' . (count($heard) - 1), $everyByte), 1);
            } else {
                $redis->close();
            }
        };
        try {
            client()->subscribe($channels, $listen);
        } catch (RedisException $closed) {
            expect(count($heard), 8);
        }
        expect($heard, [$channels[7], ...array_slice($channels, 0, 7)]);
    },
    'psubscribe' => function () {
        beside(function () {
            $publisher = client();
            while ($publisher->publish('psubscribe:0', '0') !== 1) {
                usleep(5000);
            }
        });
        $publisher = client();
        $heard = [];
        $listen = function ($redis, $pattern, $channel, $message) use (&$heard, $publisher) {
            $number = count($heard);
            expect([$pattern, $message], ['psubscribe:*', "$number"]);
            $heard[] = $channel;
            if ($number < 7) {
                $publisher->publish('psubscribe:' . ($number + 1), (string) ($number + 1));
            } else {
                $redis->close();
            }
        };
        try {
            client()->psubscribe(['psubscribe:*'], $listen);
        } catch (RedisException $closed) {
            expect(count($heard), 8);
        }
        expect($heard, array_map(fn ($number) => "psubscribe:$number", range(0, 7)));
    },
    'scan' => function () {
        $redis = client();
        $keys = array_map(fn ($number) => "scan:$number", range(0, 499));
        sort($keys);
        $redis->mset(array_fill_keys($keys, '1'));
        foreach ([[], ['scan:*', 100]] as $options) {
            $seen = [];
            $cursor = null;
            do {
                foreach ($redis->scan($cursor, ...$options) ?: [] as $key) {
                    $seen[$key] = true;
                }
            } while ($cursor !== 0);
            $found = array_keys($seen);
            sort($found);
            expect($options ? $found : array_values(array_intersect($found, $keys)), $keys);
        }
    },
    'resp2' => function () {
        $redis = client();
        $redis->del('shapes:hash', 'shapes:sorted');
        $redis->hMSet('shapes:hash', ['a' => '1', 'b' => '2']);
        $redis->zAdd('shapes:sorted', 1.5, 'a', 2, 'b');
        expect($redis->hGetAll('shapes:hash'), ['a' => '1', 'b' => '2']);
        expect($redis->zRange('shapes:sorted', 0, -1, true), ['a' => 1.5, 'b' => 2.0]);
        expect($redis->get('shapes:missing'), false);
    },
];

// The exit code of a case is 1 where it has failed, and its line is printed.
function runCase(string $name, callable $case): int
{
    try {
        $case();
        echo "ok $name\n";
        return 0;
    } catch (Throwable $failure) {
        $why = preg_replace('/\s+/', ' ', get_class($failure) . ': ' . $failure->getMessage());
        echo "FAIL $name $why\n";
        return 1;
    }
}

echo 'version ', phpversion('redis'), "\n";
foreach ($cases as $name => $case) {
    $child = pcntl_fork();
    if ($child === 0) {
        // What a case starts beside itself ends with the group.
        posix_setpgid(0, 0);
        exit(runCase($name, $case));
    }
    $end = microtime(true) + $limitSeconds;
    while (($ended = pcntl_waitpid($child, $status, WNOHANG)) === 0 && microtime(true) < $end) {
        usleep(1000);
    }
    @posix_kill(-$child, SIGKILL);
    if ($ended === 0) {
        pcntl_waitpid($child, $status);
        echo "FAIL $name not within $limitSeconds s\n";
    }
}
