//! Expressions that want all the time, memory or stack there is.
//!
//! Each ends within 100 ms of the thread's CPU time, with an error that is the same every time. The
//! time is measured around parsing and the whole transition (`apply`), in the profile of the tests; the
//! best of two or three runs counts, so that a busy machine does not fail the test.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::time::Instant;

use btrust_machine::limits::{EXPRESSION_BYTES_MAX, PAYLOAD_BYTES_MAX};
use btrust_machine::{Command, Definition, Env, Refusal, State, Status, apply};
use serde_json::{Value, json};

/// The longest that any expression may take, in milliseconds.
const MILLIS_MAX: f64 = 100.0;

/// The CPU time of this thread in milliseconds, or the time of day where the system does not say.
fn thread_millis(started: Instant) -> f64 {
    let used = std::fs::read_to_string("/proc/thread-self/schedstat")
        .ok()
        .and_then(|it| it.split(' ').next()?.parse::<f64>().ok());
    used.map_or(started.elapsed().as_secs_f64() * 1e3, |it| it / 1e6)
}

fn definition(source: &str) -> Result<Definition, String> {
    let document = json!({"name": "hostile", "definition": {"StartAt": "S", "States": {
        "S": {"Type": "Pass", "Output": {"out": format!("{{% {source} %}}")}, "End": true}}}});
    Definition::parse(&document).map_err(|findings| findings[0].code.to_owned())
}

fn run(definition: &Definition, input: &Value) -> Result<State, Refusal> {
    let start = Command::Start {
        workflow: "wf_00000000000000000000000000000001".to_owned(),
        definition: "hostile".to_owned(),
        version: 1,
        input: input.clone().into(),
        origin: btrust_machine::Origin::default(),
    };
    let env = Env {
        now_ms: 1_767_225_600_000,
        seed: 7,
    };
    apply(definition, None, &start, &env).map(|it| it.state)
}

/// Text, lists and nested documents as large as a payload may be.
fn big_input() -> Value {
    let quarter = PAYLOAD_BYTES_MAX / 4 - 1_000;
    let mut deep = json!(1);
    for _ in 0..49 {
        deep = json!({"d": [deep, 2]});
    }
    let rows: Vec<Value> = (0..quarter / 40)
        .map(|it| json!({"id": it, "k": "kkkk", "n": {"v": it % 7}}))
        .collect();
    json!({
        "text": "ab".repeat(quarter / 2),
        "aaaa": "a".repeat(30_000),
        "list": (0..quarter / 6).collect::<Vec<usize>>(),
        "rows": rows,
        "deep": deep,
        "small": "x",
    })
}

/// How an expression ends: refused when it is parsed, or the error and cause of its state.
fn outcome(source: &str, input: &Value) -> (String, f64) {
    let (mut seen, mut best) = (None, f64::INFINITY);
    for attempt in 0..3 {
        if attempt == 2 && best <= MILLIS_MAX {
            break;
        }
        let started = Instant::now();
        let before = thread_millis(started);
        let ending = match definition(source) {
            Err(code) => format!("refused: {code}"),
            Ok(definition) => match run(&definition, input) {
                // The wall-clock guard: not an ending.
                Err(refusal) => format!("{refusal:?}"),
                Ok(state) if state.status() == Status::Failed => {
                    format!(
                        "{}: {}",
                        state.error().unwrap(),
                        state.cause().unwrap_or_default()
                    )
                }
                Ok(state) => format!("ended as {:?}", state.status()),
            },
        };
        best = best.min(thread_millis(started) - before);
        let first = seen.get_or_insert_with(|| ending.clone());
        if *first != ending {
            return (format!("differs: {first} / {ending}"), best);
        }
    }
    (seen.unwrap(), best)
}

fn nested(open: &str, inner: &str, close: &str, depth: usize) -> String {
    format!("{}{inner}{}", open.repeat(depth), close.repeat(depth))
}

/// Sources that must end with an error.
fn hostile() -> Vec<String> {
    let mut sources: Vec<String> = HOSTILE.iter().map(|it| (*it).to_owned()).collect();
    let most = EXPRESSION_BYTES_MAX;
    sources.extend([
        nested("(", "1", ")", most / 2 - 1),
        nested("[", "1", "]", most / 2 - 1),
        nested("{'a':", "1", "}", most / 7),
        nested("-", "1", "", most - 2),
        nested("function($x){", "1", "}", most / 15),
        nested("$f(", "1", ")", most / 4 - 2),
        nested("a[", "1", "]", most / 3 - 2),
        nested("1+(", "1", ")", most / 4 - 2),
        nested("a.(", "1", ")", most / 4 - 2),
        nested("1?", "1", ":1", most / 4 - 2),
        vec!["1"; most / 2 - 1].join("+"),
        vec!["'a'"; most / 4 - 1].join("&"),
        "(".repeat(most - 2),
        "[".repeat(most - 2),
        "{".repeat(most - 2),
        "/".repeat(most - 2),
        "'".repeat(most - 1),
        "$".repeat(most - 2),
        "%.".repeat(most / 2 - 2),
        format!("$contains('x', /{}/)", nested("(", "a", ")", 5_000)),
        format!("$states.input{}", ".**".repeat(40)),
        format!("[{}]", vec!["$states.input.list"; 800].join(",")),
        format!("$states.input.text{}", " & $states.input.text".repeat(200)),
        format!("[{}]", vec!["$sum($states.input.rows.n.v)"; 500].join(",")),
        format!("[{}]", vec!["$string($states.input)"; 600].join(",")),
        format!(
            "[1..10000].(function($x) {{ [{}] }})",
            vec!["1"; 5_000].join(",")
        ),
    ]);
    sources
}

const HOSTILE: &[&str] = &[
    // recursion
    "($f := function($n) { 1 + $f($n + 1) }; $f(0))",
    "($f := function($n) { $f($n + 1) }; $f(0))",
    "($f := function() { $f() }; $f())",
    "($f := function($n) { $g($n) }; $g := function($n) { 1 + $f($n) }; $f(0))",
    "($f := function($n) { $g($n) }; $g := function($n) { $f($n) }; $f(0))",
    "($f := function($n) { [$f($n)] }; $f(0))",
    "($f := function($n) { {'a': $f($n)} }; $f(0))",
    "($f := function($n) { $n < 2 ? $n : $f($n - 1) + $f($n - 2) }; $f(60))",
    "($a := function($m, $n) { $m = 0 ? $n + 1 : $n = 0 ? $a($m - 1, 1) : $a($m - 1, $a($m, $n - 1)) }; $a(4, 3))",
    "(function($x) { $x($x) })(function($x) { $x($x) })",
    "($f := function($x) { $map([1, 2], function($v) { $f($v) }) }; $f(1))",
    "($f := function($n, $a) { $f($n - 1, [$a]) }; $f(1, 1))",
    "($f := function($n, $a) { $n = 0 ? $a : $f($n - 1, [[$a]]) }; $f(5000, 1))",
    "($f := function($n, $a) { $n = 0 ? $a : $f($n - 1, {'a': $a}) }; $f(5000, 1))",
    "($f := $uppercase ~> $f; $f('a'); $g := function($x) { $x ~> $g }; $g(1))",
    // ranges and products
    "[1..1000000]",
    "[1..1e300]",
    "[-9007199254740991..9007199254740991]",
    "[-9223372036854775807..9223372036854775807]",
    "[-1e300..1e300]",
    "[1..10000].[1..10000]",
    "[1..10000].($[1..10000])",
    "[1..5000].([1..5000].($))",
    "[1..1000].([1..1000].([1..1000].($)))",
    "[1..10000].{'a': [1..10000]}",
    "[1..10000].($x := $; [1..10000].($x * $))",
    "$map([1..10000], function($x) { $map([1..10000], function($y) { $x * $y }) })",
    "$map([1..10000], function($x) { $sum([1..10000]) })",
    "$filter([1..10000], function($x) { $count([1..10000][$ < 5]) = 4 })",
    "[1..10000][$count([1..10000]) > 0]",
    "[1..10000]^($count([1..10000]))",
    "[1..10000]{$string($): $sum([1..10000])}",
    "$reduce([1..10000], function($a, $b) { $append($a, [1..1000]) }, [])",
    "$reduce([1..10000], function($a, $b) { [$a, $a] }, [1])",
    "$reduce([1..60], function($a, $b) { [[$a, $a]] }, [1])",
    "$reduce([1..60], function($a, $b) { {'l': $a, 'r': $a} }, 1)",
    "$reduce([1..10000], function($a, $b) { [[$a]] }, 1)",
    "$reduce([1..10000], $append)",
    "$range(1, 1e9, 1)",
    "$range(0, 1, 1e-300)",
    "$range(1e17, 2e17, 1)",
    "[1..10000].$range(1, 10000, 1)",
    "[1..10000].$partition($range(1, 10000, 1), 1)",
    "[1..10000].$states.input.list",
    "[1..10000].$states.input.rows.n.v",
    "$states.input.list@$x.[1..10000]#$i[1]",
    "{'a': ($states.input.list@$x.[1..10000]#$i[1]; 1){$string(1): 1}, 'b': 1}",
    "$sort([1..100], function($x, $i) { $i })@$x.[1..10000]#$i[1]+1",
    "$states.input.list@$x.[1..2000]#$i",
    "$sort([1..10000], /a+/)",
    "[1..10000].$states.input.rows.missing.deeper",
    "[1..10000].($states.input.rows[id = 5].k)",
    "[1..10000].($states.input.rows[0].k)",
    "$map([1..10000], function($i) { $states.input.rows[$i].id })",
    "$map([1..10000], function($i) { $states.input.rows.n.v })",
    "$map([1..10000], function($i) { $lookup($states.input.rows, 'k') })",
    "$map([1..10000], function($i) { $states.input = $states.input })",
    "$map([1..10000], function($i) { $i in $states.input.list })",
    "$map([1..10000], function($i) { $states.input.rows^(id)[0] })",
    "$map([1..10000], function($i) { $states.input.rows{k: $sum(id)} })",
    "$map([1..10000], function($i) { $states.input.rows@$r#$j.{'a': $r.k, 'j': $j} })",
    "$map([1..10000], function($i) { $states.input.rows.n.{'a': %.id} })",
    "$map([1..10000], function($i) { $states.input ~> |rows|{'z': 1}| })",
    "$states.input.rows@$a.rows@$b",
    "$states.input.rows@$a.($states.input.rows@$b.{'x': $a.id * $b.id})",
    "$states.input.rows@$x.$#$i[true]",
    "$states.input@$a.rows@$x.rows@$y.rows@$z",
    "$states.input.rows@$x.rows@$y.rows@$z",
    "([1..200])@$x.([1..200])@$y.([1..200])@$z",
    "$states.input.**@$x.**@$y.**@$z",
    "$states.input.*@$x.*@$y.*@$z.*",
    "$states.input.rows.%.rows.%.rows.%.rows",
    "$states.input.rows.(%.rows).(%.rows)",
    "$states.input.rows@$x.missing@$y.rows@$z",
    "[1..10000].($states.input.rows#$i.missing#$j)",
    "[1..10000].($states.input.rows.missing.{'a': %})",
    "$states.input ~> |**|{'z': $count($states.input.rows)}|",
    "$states.input ~> |rows|{'z': [1..10000]}|",
    "$states.input.**.**.**.**",
    "$states.input.*.*.**.*",
    "$map([1..10000], function($i) { $count($states.input.**) })",
    // text
    "($f := function($s) { $f($s & $s) }; $f('a'))",
    "($f := function($s, $n) { $n = 0 ? $s : $f($s & $s, $n - 1) }; $f('a', 40))",
    "$reduce([1..60], function($a, $b) { $a & $a }, 'aaaaaaaa')",
    "$reduce([1..10000], function($a, $b) { $a & $states.input.text }, '')",
    "$reduce([1..60], function($a, $b) { $join([$a, $a, $a]) }, 'a')",
    "$reduce([1..60], function($a, $b) { $replace($a, 'a', 'aaaa') }, 'a')",
    "$replace($states.input.text, 'a', $states.input.text)",
    "$replace($states.input.text, /a/, $states.input.text)",
    "$replace($states.input.text, /(.*)/, '$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1')",
    "$replace($states.input.text, /a/, function($m) { $states.input.text })",
    "($f := function($m) { $states.input.text }; $replace($states.input.text, /a/, $f))",
    "$join($map([1..10000], function($i) { $states.input.text }))",
    "$join([1..10000].'a', $states.input.text)",
    "$string($map([1..10000], function($i) { $states.input }))",
    "$map([1..10000], function($i) { $string($states.input) })",
    "$map([1..10000], function($i) { $states.input })",
    "$string($reduce([1..10000], function($a, $b) { [[$a]] }, 1), true)",
    "$string($states.input, true) & $string($states.input.deep, true) & $states.input.text",
    "$map([1..10000], function($i) { $uppercase($states.input.text) })",
    "$map([1..10000], function($i) { $length($states.input.text) })",
    "$map([1..10000], function($i) { $substring($states.input.text, 10, 50000) })",
    "$map([1..10000], function($i) { $split($states.input.text, '') })",
    "$map([1..10000], function($i) { $base64encode($states.input.text) })",
    "$map([1..10000], function($i) { $hash($states.input.text, 'SHA-512') })",
    "$map([1..10000], function($i) { $contains($states.input.text, 'c') })",
    "$map([1..10000], function($i) { $parse($string($states.input.list)) })",
    "[1..10000].($states.input.text.$uppercase())",
    "[1..10000].$string($states.input.text).$length()",
    "$map($map([1..10000], function($i) { $states.input }), $string)",
    "($f := $string; $map([1..10000], function($i) { $f($states.input) }))",
    "($f := $string ~> $length; $map([1..10000], function($i) { $f($states.input) }))",
    "($f := $string(?); $map([1..10000], function($i) { $f($states.input) }))",
    "$pad('x', 1e9)",
    "$pad('x', -1e300, 'ab')",
    "$map([1..10000], function($i) { $pad('x', 100000) })",
    // patterns
    "$contains($states.input.aaaa & '!', /^(a+)+$/)",
    "$match($states.input.aaaa, /(a*)*b/)",
    "$match($states.input.text, /(.*X)|a/)",
    "$match($states.input.aaaa, /a*?a*?a*?a*?a*?a*?a*?b/)",
    "$split($states.input.aaaa, /(x+x+)+y/)",
    "$replace($states.input.aaaa, /(a|aa)+$/, '')",
    "$contains('x', /(((a{100}){100}){100}){100}/)",
    "$contains('x', /a{1000000}/)",
    "$contains('x', /(a{0,500}){500}/)",
    "$contains('x', /[^a]{500}\\w{500}/)",
    "$contains($states.input.aaaa, /(a|b)*a(a|b){200}c/)",
    "$map([1..10000], function($i) { $contains('x', /[a-z]{50}[A-Z]{50}/) })",
    "$map([1..10000], function($i) { $match('x', /^(a|b|c|d|e)+$/i) })",
    "$contains('aa', /(a)\\1/)",
    "$contains('aa', /(?=a)a/)",
    "($m := function($s) { {'match': 'a', 'start': 0, 'end': 1, 'groups': [], 'next': function() { $m($s) }} }; $match('a', $m))",
    // a function that takes the context
    "$map([1..10000], function($x) { $encodeUrl() })",
    "[1..10000]^(>$floor()^(>0.5))",
    "[1..10000]{$string([1..100]): $keys()}",
    "[1..10000].($abs())",
    // sorting and grouping
    "$sort($states.input.list, function($a, $b) { $sum([1..1000]) > 0 })",
    "$sort([1..10000], function($a, $b) { $string($states.input) > 'a' })",
    "$states.input.rows^($string($states.input))",
    "$distinct($states.input.list)",
    "$distinct($map([1..10000], function($i) { {'a': $i} }))",
    "$states.input.rows{$string(id): $$.x, $string(id): 1}",
    "$zip($states.input.list, $states.input.list, $states.input.list) ~> $map(function($x) { $string($states.input) })",
    "$sift($merge([1..10000].{$string($): $}), function($v, $k, $o) { $count($keys($o)) > 0 })",
    "$each($merge([1..10000].{$string($): $}), function($v, $k) { $string($states.input) })",
    "$map([1..10000], function($i) { $shuffle($states.input.list) })",
    "$map([1..10000], function($i) { $reverse($states.input.list) })",
    "$map([1..10000], function($i, $n, $a) { $sum($a) })",
    // numbers and pictures
    "1e400",
    "1e308 * 10",
    "-1e308 * 10",
    "0 / 0",
    "$power(10, 400)",
    "$power(-1, 0.5)",
    "$sqrt(-1)",
    "$number('1e999')",
    "$formatBase(1, 99)",
    "$formatNumber(1, '#;#;#')",
    "$formatInteger(1, 'nonsense[')",
    "$fromMillis(1e300)",
    "$fromMillis(8.64e15 * 10, '[Y]')",
    "$fromMillis(1, '[Y')",
    "$parse('[[[[[[[[[[')",
    "$parse($join([1..10000].'['))",
    "$error($states.input.text)",
];

#[test]
fn every_hostile_expression_ends_soon_and_the_same_way() {
    let input = big_input();
    let mut wrong = Vec::new();
    let mut slowest = Vec::new();
    for source in hostile() {
        let shown: String = source.chars().take(120).collect();
        let (ending, millis) = outcome(&source, &input);
        slowest.push((millis, shown.clone()));
        let is_error = [
            "refused: ",
            "States.QueryEvaluationError",
            "States.DataLimitExceeded",
        ]
        .iter()
        .any(|it| ending.starts_with(it));
        if !is_error || MILLIS_MAX < millis {
            let ending: String = ending.chars().take(200).collect();
            wrong.push(format!("{millis:.0} ms, {ending}: {shown}"));
        }
    }
    slowest.sort_by(|left, right| right.0.total_cmp(&left.0));
    for (millis, shown) in slowest.iter().take(12) {
        println!("{millis:.0} ms: {shown}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What people write must not hit a limit that is meant for attacks.
#[test]
fn ordinary_expressions_over_large_documents_are_within_the_limits() {
    let input = json!({
        "tenant": "bank",
        "text": "The quick brown fox jumps over the lazy dog. ".repeat(100),
        "items": (0..1_000).map(|it| json!({"id": it, "price": it % 97, "tags": ["a", "b"], "address": {"city": "Haifa", "zip": format!("{it:07}")}})).collect::<Vec<_>>(),
        "index": (0..1_000).map(|it| (format!("k{it}"), json!({"v": it}))).collect::<serde_json::Map<_, _>>(),
    });
    let mut wrong = Vec::new();
    for source in [
        "$map($states.input.items, function($i) { {'id': $i.id, 'tenant': $states.input.tenant, 'zip': $i.address.zip} }) ~> $count()",
        "$sum($states.input.items.(price * id))",
        "$states.input.items[price > 50 and address.city = 'Haifa'].id ~> $count()",
        "$states.input.items{$string(price): $count($)} ~> $keys() ~> $count()",
        "$count($sort($states.input.items, function($l, $r) { $l.price > $r.price }))",
        "$count($states.input.items^(>price, id))",
        "$reduce($states.input.items, function($a, $b) { $a + $b.price }, 0)",
        "$join($states.input.items.address.zip, ',') ~> $length()",
        "$map($states.input.items, function($i) { $lookup($states.input.index, 'k' & $i.id).v }) ~> $sum()",
        "$filter($states.input.items, function($i) { $contains($i.address.zip, /^00001[0-9]+$/) }) ~> $count()",
        "$count($distinct($states.input.items.price))",
        "$length($replace($states.input.text, 'fox', 'wolf'))",
        "$count($match($states.input.text, /\\b[a-z]+\\b/))",
        "$count($split($states.input.text, ' '))",
        "$length($string($states.input))",
        "$count(($states.input ~> |items|{'seen': true}|).items)",
        "$count($states.input.items#$i[$i % 2 = 0])",
        "$count($merge($states.input.items.{$string(id): price}) ~> $keys())",
        "($f := function($n, $a) { $n = 0 ? $a : $f($n - 1, $a + $n) }; $f(5000, 0))",
        "($f := function($n) { $n <= 1 ? 1 : $n + $f($n - 1) }; $f(200))",
        "$count([1..10000].($ * 2))",
        "$sum($map([1..5000], function($i) { $i % 7 }))",
        "($l := $states.input.items[id < 50]; $count($l@$a.$l@$b[$a.id = $b.price].{'a': $a.id, 'b': $b.id}))",
        "$states.input.items.tags ~> $distinct() ~> $join('-')",
        "$count($states.input.items.{'id': id, 'city': address.city, 'n': $count(tags)})",
    ] {
        let (ending, millis) = outcome(source, &input);
        println!("{millis:.1} ms: {source}");
        if ending != "ended as Succeeded" {
            wrong.push(format!("{source}: {ending}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
