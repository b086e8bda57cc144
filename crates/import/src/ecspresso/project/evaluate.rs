//! The functions of templates and of Jsonnet, as ecspresso and its plugins define them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use landfall_manifest::yaml::shorten;
use serde_json::Value;

use super::lookup::{Found, Known, Lookup};
use super::state::{self, Miss, State};
use crate::ecspresso::actions::{Command, Pipeline, Word};

/// Every function, with what it takes; docs/ecspresso.md has the same list.
pub const FUNCTIONS: &[(&str, &str)] = &[
    ("env", "NAME… DEFAULT"),
    ("must_env", "NAME"),
    ("json_escape", "TEXT"),
    ("caller_identity", ""),
    ("ssm", "NAME [INDEX]"),
    ("ssm_list", "NAME INDEX"),
    ("secretsmanager_arn", "NAME"),
    ("tfstate", "ADDRESS"),
    ("tfstatef", "FORMAT ARGUMENT…"),
    ("cfn_output", "STACK KEY"),
    ("cfn_export", "NAME"),
];

/// Plugins that bring functions, with those functions.
const PLUGINS: &[(&str, &[&str])] = &[
    ("ssm", &["ssm", "ssm_list"]),
    ("secretsmanager", &["secretsmanager_arn"]),
    ("tfstate", &["tfstate", "tfstatef"]),
    ("cloudformation", &["cfn_output", "cfn_export"]),
];

/// Why there is no value.
#[derive(Debug)]
pub(super) enum Stop {
    /// It is being asked for.
    Pending,
    /// Not something that is understood here.
    Unsupported(String),
    /// A variable, a parameter, an attribute that is not there.
    Missing(String),
}

#[derive(Debug, Clone)]
struct Function {
    /// Of [`FUNCTIONS`].
    name: &'static str,
    /// Of the Terraform functions.
    state: Option<Location>,
}

#[derive(Debug, Clone)]
pub(super) enum Location {
    File(String),
    Bucket { bucket: String, key: String, region: Option<String> },
}

pub(super) struct Evaluator<'a> {
    pub vars: &'a dyn Fn(&str) -> Option<String>,
    pub read: &'a dyn Fn(&str) -> Result<String, String>,
    known: &'a Known,
    functions: RefCell<BTreeMap<String, Function>>,
    states: RefCell<BTreeMap<String, Result<Rc<State>, String>>>,
    needs: RefCell<BTreeSet<Lookup>>,
}

impl<'a> Evaluator<'a> {
    pub(super) fn new(
        vars: &'a dyn Fn(&str) -> Option<String>,
        read: &'a dyn Fn(&str) -> Result<String, String>,
        known: &'a Known,
    ) -> Self {
        let simple = |name: &'static str| (name.to_owned(), Function { name, state: None });
        let always = FUNCTIONS[..7].iter().map(|(name, _)| simple(name));
        Self {
            vars,
            read,
            known,
            functions: RefCell::new(always.collect()),
            states: RefCell::default(),
            needs: RefCell::default(),
        }
    }

    /// A plugin's functions under `prefix`. `Err` says what is wrong with it.
    pub(super) fn plug(&self, plugin: &str, prefix: &str, state: Option<Location>) -> Result<(), String> {
        let lower = plugin.to_ascii_lowercase();
        let Some((_, names)) = PLUGINS.iter().find(|(name, _)| *name == lower) else {
            return Err(format!("the plugin `{}` is not known here", shorten(plugin)));
        };
        let mut functions = self.functions.borrow_mut();
        for &name in *names {
            let key = format!("{prefix}{name}");
            // Those two are there without being asked for.
            let by_default = matches!(lower.as_str(), "ssm" | "secretsmanager") && prefix.is_empty();
            if functions.contains_key(&key) && !by_default {
                return Err(format!("there is a function `{key}` already: give this plugin a `func_prefix`"));
            }
            functions.insert(key, Function { name, state: state.clone() });
        }
        Ok(())
    }

    pub(super) fn needs(&self) -> BTreeSet<Lookup> {
        self.needs.borrow().clone()
    }

    /// Functions by the names that Jsonnet's `std.native` knows them by, and how many arguments each takes.
    pub(super) fn natives(&self) -> Vec<(String, usize)> {
        let arity = |name: &str| match name {
            "caller_identity" => 0,
            "env" | "ssm_list" | "tfstatef" | "cfn_output" => 2,
            _ => 1,
        };
        self.functions.borrow().iter().map(|(key, function)| (key.clone(), arity(function.name))).collect()
    }

    /// The text that an action puts in its place.
    pub(super) fn text(&self, pipeline: &Pipeline) -> Result<String, Stop> {
        self.pipeline(pipeline).map(as_text)
    }

    fn pipeline(&self, pipeline: &Pipeline) -> Result<Value, Stop> {
        let mut value = None;
        for command in pipeline {
            value = Some(self.command(command, value)?);
        }
        value.ok_or_else(|| Stop::Unsupported("an empty template is not understood".to_owned()))
    }

    fn command(&self, command: &Command, last: Option<Value>) -> Result<Value, Stop> {
        let (name, rest) = match command.split_first() {
            Some((Word::Name(name), rest)) => (name, rest),
            Some((Word::Text(text), [])) if last.is_none() => return Ok(Value::from(text.as_str())),
            Some((Word::Group(inner), [])) if last.is_none() => return self.pipeline(inner),
            _ => {
                return Err(Stop::Unsupported(
                    "a template calls a function of ecspresso; this one does not".to_owned(),
                ));
            }
        };
        self.function(name.split('.').next().unwrap_or_default())?;
        let mut args = Vec::new();
        for word in rest {
            args.push(match word {
                Word::Text(text) => Value::from(text.as_str()),
                Word::Number(number) => Value::from(*number),
                Word::Group(inner) => self.pipeline(inner)?,
                Word::Name(name) => self.field(name, &[])?,
            });
        }
        args.extend(last);
        self.field(name, &args)
    }

    /// `caller_identity.Account`.
    fn field(&self, name: &str, args: &[Value]) -> Result<Value, Stop> {
        let mut parts = name.split('.');
        let mut value = self.call(parts.next().unwrap_or_default(), args)?;
        for part in parts {
            let found = value.get_mut(part).map(Value::take);
            value = found.ok_or_else(|| Stop::Unsupported(format!("`{}` has no such field", shorten(name))))?;
        }
        Ok(value)
    }

    fn function(&self, name: &str) -> Result<Function, Stop> {
        let function = self.functions.borrow().get(name).cloned();
        function.ok_or_else(|| {
            let plugin = PLUGINS.iter().find(|(_, names)| names.iter().any(|known| name.ends_with(known)));
            Stop::Unsupported(match plugin {
                Some((plugin, _)) => format!("`{}` needs the plugin `{plugin}` under `plugins`", shorten(name)),
                None => format!("the template function `{}` is not supported", shorten(name)),
            })
        })
    }

    pub(super) fn call(&self, name: &str, args: &[Value]) -> Result<Value, Stop> {
        let function = self.function(name)?;
        let texts: Vec<String> = args.iter().cloned().map(as_text).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        match (function.name, texts.as_slice()) {
            ("env", [names @ .., default]) => {
                let set = names.iter().chain([default]).find_map(|name| (self.vars)(name).filter(|v| !v.is_empty()));
                Ok(Value::from(set.unwrap_or_else(|| (*default).to_owned())))
            }
            ("must_env", [name]) => match (self.vars)(name) {
                Some(value) => Ok(Value::from(value)),
                None => Err(Stop::Missing(format!("the environment variable {} is not set", shorten(name)))),
            },
            ("json_escape", [text]) => {
                let quoted = Value::from(*text).to_string();
                Ok(Value::from(&quoted[1..quoted.len() - 1]))
            }
            ("caller_identity", []) => match self.known(&Lookup::CallerIdentity)? {
                Found::Map(map) => Ok(serde_json::to_value(map).unwrap_or_default()),
                _ => Err(Stop::Missing("the caller's identity is not known".to_owned())),
            },
            ("ssm", [name]) => self.parameter(name, None),
            ("ssm" | "ssm_list", [name, index]) => self.parameter(name, Some(index)),
            ("secretsmanager_arn", [name]) => match self.known(&Lookup::SecretArn((*name).to_owned()))? {
                Found::Text(arn) => Ok(Value::from(arn.as_str())),
                _ => Err(Stop::Missing(format!("secret {} has no ARN", shorten(name)))),
            },
            ("cfn_output", [stack, key]) => self.entry(&Lookup::StackOutputs((*stack).to_owned()), key),
            ("cfn_export", [name]) => self.entry(&Lookup::Exports, name),
            ("tfstate", [address]) => self.attribute(&function, address),
            ("tfstatef", [format, rest @ ..]) => {
                let address = formatted(format, rest).ok_or_else(|| {
                    Stop::Unsupported("`tfstatef` takes `%s`, `%d` and `%v`, each with its argument".to_owned())
                })?;
                self.attribute(&function, &address)
            }
            (known, _) => {
                let takes = FUNCTIONS.iter().find(|(name, _)| *name == known).map_or("", |(_, takes)| takes);
                Err(Stop::Unsupported(format!(
                    "`{}` takes {}",
                    shorten(name),
                    if takes.is_empty() { "nothing" } else { takes }
                )))
            }
        }
    }

    fn known(&self, lookup: &Lookup) -> Result<&'a Found, Stop> {
        match self.known.get(lookup) {
            Some(Ok(found)) => Ok(found),
            Some(Err(why)) => Err(Stop::Missing(why.clone())),
            None => {
                self.needs.borrow_mut().insert(lookup.clone());
                Err(Stop::Pending)
            }
        }
    }

    fn parameter(&self, name: &str, index: Option<&str>) -> Result<Value, Stop> {
        let name = name.to_owned();
        match (self.known(&Lookup::Parameter(name.clone()))?, index) {
            (Found::Text(text), None) => Ok(Value::from(text.as_str())),
            (Found::List(items), Some(index)) => {
                let item = index.parse().ok().and_then(|index: usize| items.get(index));
                item.map(|item| Value::from(item.as_str())).ok_or_else(|| {
                    Stop::Missing(format!(
                        "SSM parameter {name} has {} items, and none with the index {index}",
                        items.len()
                    ))
                })
            }
            (Found::List(_), None) => {
                Err(Stop::Unsupported(format!("SSM parameter {name} is a StringList: say which item, by its index")))
            }
            _ => Err(Stop::Unsupported(format!("SSM parameter {name} is no StringList: it takes no index"))),
        }
    }

    fn entry(&self, lookup: &Lookup, key: &str) -> Result<Value, Stop> {
        match self.known(lookup)? {
            Found::Map(map) if map.contains_key(key) => Ok(Value::from(map[key].as_str())),
            _ => Err(Stop::Missing(format!("there is no `{}` among {lookup}", shorten(key)))),
        }
    }

    fn attribute(&self, function: &Function, address: &str) -> Result<Value, Stop> {
        let location = function.state.as_ref().ok_or_else(|| Stop::Unsupported("no state is named".to_owned()))?;
        let state = self.state(location)?;
        state.get(address).map_err(|miss| match miss {
            Miss::Absent => Stop::Missing(format!("`{}` is not in the Terraform state", shorten(address))),
            Miss::NotUnderstood => {
                Stop::Unsupported(format!("`{}` is more than an address with a path", shorten(address)))
            }
        })
    }

    fn state(&self, location: &Location) -> Result<Rc<State>, Stop> {
        let id = format!("{location:?}");
        let kept = self.states.borrow().get(&id).cloned();
        if let Some(kept) = kept {
            return kept.map_err(Stop::Missing);
        }
        let (name, text) = match location {
            Location::File(path) => (format!("`{}`", shorten(path)), (self.read)(path)),
            Location::Bucket { bucket, key, region } => {
                let lookup = Lookup::State { bucket: bucket.clone(), key: key.clone(), region: region.clone() };
                match self.known(&lookup)? {
                    Found::Text(text) => (format!("s3://{bucket}/{key}"), Ok(text.clone())),
                    _ => (format!("s3://{bucket}/{key}"), Err("it is no text".to_owned())),
                }
            }
        };
        let workspace = (self.vars)("TF_WORKSPACE").filter(|name| !name.is_empty());
        let workspace = workspace.or_else(|| match location {
            Location::File(path) => (self.read)(&beside(path, "environment")).ok(),
            Location::Bucket { .. } => None,
        });
        let read = text.and_then(|text| state::read(&text, workspace.as_deref().unwrap_or_default()));
        let state = match (read, location) {
            (Ok(state::Read::State(state)), _) => Ok(Rc::new(state)),
            (Ok(state::Read::Bucket { bucket, key, region }), Location::File(_)) => {
                return self.state(&Location::Bucket { bucket, key, region });
            }
            (Ok(state::Read::Bucket { .. }), _) => Err(format!("the Terraform state {name} only refers to another")),
            (Err(why), _) => Err(format!("the Terraform state {name} cannot be used: {why}")),
        };
        self.states.borrow_mut().insert(id, state.clone());
        state.map_err(Stop::Missing)
    }
}

/// `name` in the directory of `path`.
pub(super) fn beside(path: &str, name: &str) -> String {
    match path.rsplit_once('/') {
        Some((directory, _)) => format!("{directory}/{name}"),
        None => name.to_owned(),
    }
}

/// As a template prints it.
fn as_text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

fn formatted(format: &str, args: &[&str]) -> Option<String> {
    let mut args = args.iter();
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        match c {
            '%' => match chars.next()? {
                '%' => out.push('%'),
                's' | 'd' | 'v' => out.push_str(args.next()?),
                _ => return None,
            },
            other => out.push(other),
        }
    }
    args.next().is_none().then_some(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::ecspresso::actions::Tokens;

    fn vars(name: &str) -> Option<String> {
        match name {
            "A" => Some("a".to_owned()),
            "EMPTY" => Some(String::new()),
            "QUOTED" => Some("say \"hi\"\n".to_owned()),
            _ => None,
        }
    }

    fn evaluate(template: &str, known: &Known) -> Result<String, String> {
        let read = |path: &str| match path {
            "terraform.tfstate" => {
                Ok(r#"{"version": 4, "outputs": {"x": {"value": [1, "b"], "type": "list"}}}"#.to_owned())
            }
            _ => Err("no such file".to_owned()),
        };
        let evaluator = Evaluator::new(&vars, &read, known);
        evaluator.plug("tfstate", "", Some(Location::File("terraform.tfstate".into()))).unwrap();
        evaluator.plug("TFState", "gone_", Some(Location::File("gone.tfstate".into()))).unwrap();
        let bucket = Location::Bucket { bucket: "b".into(), key: "k".into(), region: None };
        evaluator.plug("tfstate", "s3_", Some(bucket)).unwrap();
        evaluator.plug("cloudformation", "", None).unwrap();
        assert!(evaluator.plug("cloudformation", "", None).is_err());
        evaluator.plug("ssm", "", None).unwrap();
        let tokens = Tokens::of(template, "", "").unwrap();
        match evaluator.text(&tokens.actions[0].pipeline) {
            Ok(text) => Ok(text),
            Err(Stop::Pending) => Err(format!("{:?}", evaluator.needs())),
            Err(Stop::Missing(why) | Stop::Unsupported(why)) => Err(why),
        }
    }

    #[test]
    fn the_environment() {
        let known = Known::new();
        for (template, value) in [
            ("{{ env `A` `x` }}", "a"),
            ("{{ env `B` `x` }}", "x"),
            ("{{ env `EMPTY` `x` }}", "x"),
            ("{{ env `B` }}", "B"),
            ("{{ env `B` `EMPTY` `A` `x` }}", "a"),
            ("{{ must_env `A` }}", "a"),
            ("{{ must_env `EMPTY` }}", ""),
            ("{{ must_env `QUOTED` | json_escape }}", "say \\\"hi\\\"\\n"),
            ("{{ json_escape (env `A`) }}", "a"),
            ("{{ `plain` }}", "plain"),
        ] {
            assert_eq!(evaluate(template, &known).as_deref(), Ok(value), "{template}");
        }
        assert!(evaluate("{{ must_env `B` }}", &known).unwrap_err().contains("B is not set"));
        for template in [
            "{{ env }}",
            "{{ must_env `A` `B` }}",
            "{{ printf `%s` `A` }}",
            "{{ if true }}",
            "{{ 5 }}",
            "{{ env.X `A` }}",
        ] {
            assert!(evaluate(template, &known).is_err(), "{template}");
        }
    }

    #[test]
    fn lookups_are_collected_and_then_used() {
        let mut known = Known::new();
        assert!(evaluate("{{ ssm `/a` }}", &known).unwrap_err().contains("/a"));
        assert!(evaluate("{{ s3_tfstate `output.x` }}", &known).unwrap_err().contains("State"));
        let map = |key: &str, value: &str| Found::Map([(key.to_owned(), value.to_owned())].into());
        known.insert(Lookup::Parameter("/a".into()), Ok(Found::Text("one".into())));
        known.insert(Lookup::Parameter("/l".into()), Ok(Found::List(vec!["x".into(), "y".into()])));
        known.insert(Lookup::Parameter("/gone".into()), Err("there is no parameter /gone".into()));
        known.insert(Lookup::SecretArn("db".into()), Ok(Found::Text("arn:db".into())));
        known.insert(Lookup::StackOutputs("s".into()), Ok(map("Subnet", "subnet-1")));
        known.insert(Lookup::Exports, Ok(map("vpc", "vpc-1")));
        known.insert(Lookup::CallerIdentity, Ok(map("Account", "123456789012")));
        let state = Lookup::State { bucket: "b".into(), key: "k".into(), region: None };
        known.insert(
            state,
            Ok(Found::Text(r#"{"version": 4, "outputs": {"x": {"value": "s3", "type": "string"}}}"#.into())),
        );
        for (template, value) in [
            ("{{ ssm `/a` }}", "one"),
            ("{{ ssm `/l` 1 }}", "y"),
            ("{{ ssm_list `/l` 0 }}", "x"),
            ("{{ secretsmanager_arn `db` }}", "arn:db"),
            ("{{ cfn_output `s` `Subnet` }}", "subnet-1"),
            ("{{ cfn_export `vpc` }}", "vpc-1"),
            ("{{ caller_identity.Account }}", "123456789012"),
            ("{{ tfstate `output.x[1]` }}", "b"),
            ("{{ tfstate `output.x` }}", "[1,\"b\"]"),
            ("{{ tfstatef `output.x[%d]` 0 }}", "1"),
            ("{{ tfstatef `output.%s` (env `X` `x`) }}", "[1,\"b\"]"),
            ("{{ s3_tfstate `output.x` }}", "s3"),
        ] {
            assert_eq!(evaluate(template, &known).as_deref(), Ok(value), "{template}");
        }
        for (template, part) in [
            ("{{ ssm `/gone` }}", "no parameter /gone"),
            ("{{ ssm `/l` }}", "StringList"),
            ("{{ ssm `/a` 0 }}", "no StringList"),
            ("{{ ssm `/l` 2 }}", "2 items"),
            ("{{ cfn_output `s` `X` }}", "no `X`"),
            ("{{ tfstate `output.y` }}", "not in the Terraform state"),
            ("{{ gone_tfstate `output.y` }}", "no such file"),
            ("{{ tfstatef `output.%q` `x` }}", "tfstatef"),
            ("{{ tfstatef `output.%s` }}", "tfstatef"),
            ("{{ other_tfstate `output.x` }}", "plugin `tfstate`"),
            ("{{ caller_identity.Nothing }}", "no such field"),
        ] {
            let error = evaluate(template, &known).unwrap_err();
            assert!(error.contains(part), "{template}: {error}");
        }
    }
}
