//! What is wrong with Jsonnet is told with its place, in whichever of its files it is.

use std::collections::BTreeMap;

use landfall_import::ecspresso::project::External;
use landfall_manifest::SourceFile;

use crate::project::{no_answers, rounds, shown, with_stack};

fn problem(files: &[(&str, &str)]) -> String {
    with_stack(|| on_this_thread(files))
}

fn on_this_thread(files: &[(&str, &str)]) -> String {
    let files: BTreeMap<&str, &str> = files.iter().copied().collect();
    let read = |path: &str| files.get(path).map(|text| (*text).to_owned()).ok_or_else(|| "no such file".to_owned());
    let config = SourceFile::new("ecspresso.yml", "task_definition: d/task.jsonnet\n");
    let (result, _) = rounds(&config, &read, &|_| None, &External::default(), &no_answers);
    shown(&result.expect_err("it should not have been accepted"))
}

#[test]
fn mistakes_have_a_file_a_line_and_a_column() {
    for (text, message, place) in [
        ("{\n  family: 'a\n", "a string without its end", "d/task.jsonnet:2:11"),
        ("{\n  family: }", "something else is expected here", "d/task.jsonnet:2:11"),
        ("{\n  family: nobody }", "the variable `nobody` is not known", "d/task.jsonnet:2:11"),
        ("{\n  family: error 'no ' + 'luck' }", "no luck", "d/task.jsonnet:2:11"),
        ("{\n  family: std.native('must_env')('NOT_SET') }", "NOT_SET is not set", "d/task.jsonnet:2:11"),
        ("{\n  family: std.native('ssm')('/gone') }", "nobody knows SSM parameter /gone", "d/task.jsonnet:2:11"),
        ("{\n  family: std.native('nothing')('x') }", "what is called is no function", "d/task.jsonnet:2:11"),
        ("{\n  family: std.extVar('stage') }", "external variable `stage` is not given", "d/task.jsonnet:2:11"),
        ("local f(n) = 1 + f(n + 1);\n{family: f(0)}", "without an end", "d/task.jsonnet"),
        ("{\n  family: {}.x }", "there is no field `x`", "d/task.jsonnet:2:11"),
        ("{\n  family: import 'gone.libsonnet' }", "cannot read `d/gone.libsonnet`", "d/task.jsonnet:2:11"),
        ("function(x) x", "a function is no JSON", "d/task.jsonnet"),
    ] {
        let shown = problem(&[("d/task.jsonnet", text)]);
        assert!(shown.contains(message) && shown.contains(place), "{message}, {place}: {shown}");
    }
}

#[test]
fn files_that_are_imported_have_their_own_places() {
    let main = "local l = import '../l/lib.libsonnet';\n{family: l.name(1)}";
    let shown = problem(&[("d/task.jsonnet", main), ("l/lib.libsonnet", "{\n  name(x):: x.y }")]);
    assert!(shown.contains("l/lib.libsonnet:2:13"), "{shown}");
    let shown = problem(&[("d/task.jsonnet", main), ("l/lib.libsonnet", "{\n  name(x):: }")]);
    assert!(shown.contains("l/lib.libsonnet:2:13"), "{shown}");
}

/// The evaluator keeps its own stack.
#[test]
fn deep_nesting_is_an_error() {
    for text in
        ["[".repeat(100_000), "(".repeat(100_000), "{a:".repeat(100_000), format!("local a = {}", "a.".repeat(100_000))]
    {
        assert!(!problem(&[("d/task.jsonnet", &text)]).is_empty());
    }
    let closed = format!("{{family: {}1{}}}", "[".repeat(2_000), "]".repeat(2_000));
    assert!(!problem(&[("d/task.jsonnet", &closed)]).is_empty());
}
