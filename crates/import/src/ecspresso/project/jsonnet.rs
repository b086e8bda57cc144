//! Jsonnet, evaluated to JSON text: with `std.native` for the functions of templates, `std.extVar`, and imports relative to the
//! file that imports.
//!
//! A function whose value is still being asked for answers with a placeholder, so that one pass finds as many of them as it
//! can; what came of placeholders is thrown away.

use std::collections::BTreeMap;

use landfall_manifest::yaml::{finish, shorten};
use landfall_manifest::{Diagnostic, SourceFile, Span};
use rsjsonnet_lang::arena::Arena;
use rsjsonnet_lang::interner::InternedStr;
use rsjsonnet_lang::program::{
    AnalyzeError, Callbacks, EvalError, EvalErrorKind, EvalStackTraceItem, ImportError, LoadError, NativeError,
    Program, Thunk, Value,
};
use rsjsonnet_lang::span::{SpanContextId, SpanId};
use serde_json::Value as Json;

use super::evaluate::{Evaluator, Stop, beside};
use super::nesting;
use crate::codes;

/// What `--ext-str` and `--ext-code` give.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct External {
    pub text: BTreeMap<String, String>,
    pub code: BTreeMap<String, String>,
}

pub(super) type Problems = Vec<(SourceFile, Vec<Diagnostic>)>;

/// Files that a program may import.
const MOST_FILES: usize = 200;

/// The value of `source` as JSON text.
pub(super) fn evaluate(
    source: &SourceFile,
    evaluator: &Evaluator<'_>,
    external: &External,
) -> Result<String, Problems> {
    run(source, evaluator, external, None)
}

/// One field of an object, as JSON text, and nothing else of it evaluated; `null` without it.
pub(super) fn field(
    source: &SourceFile,
    name: &str,
    evaluator: &Evaluator<'_>,
    external: &External,
) -> Result<String, Problems> {
    run(source, evaluator, external, Some(name))
}

fn run(
    source: &SourceFile,
    evaluator: &Evaluator<'_>,
    external: &External,
    field: Option<&str>,
) -> Result<String, Problems> {
    let arena = Arena::new();
    let mut program = Program::new(&arena);
    for (name, arity) in evaluator.natives() {
        let params: Vec<_> = (0..arity).map(|n| program.intern_str(&format!("argument{n}"))).collect();
        let name = program.intern_str(&name);
        program.register_native_func(name, &params);
    }
    let mut host =
        Host { evaluator, files: Vec::new(), thunks: BTreeMap::new(), stopped: None, main: source.path.clone() };
    for (name, text) in external.text.iter().filter(|(name, _)| !external.code.contains_key(*name)) {
        let thunk = program.value_to_thunk(&Value::string(text));
        let name = program.intern_str(name);
        program.add_ext_var(name, &thunk);
    }
    for (name, code) in &external.code {
        let file = SourceFile::new(format!("external code {name}"), code.as_str());
        let thunk = host.load(&mut program, file).map_err(|problem| vec![problem])?;
        let name = program.intern_str(name);
        program.add_ext_var(name, &thunk);
    }
    let mut thunk = host.load(&mut program, source.clone()).map_err(|problem| vec![problem])?;
    if let Some(field) = field {
        let get = "function(o, f) if std.isObject(o) && std.objectHasAll(o, f) then o[f] else null";
        let get = host.load(&mut program, SourceFile::new("field", get)).map_err(|problem| vec![problem])?;
        let field = program.value_to_thunk(&Value::string(field));
        let value = program.eval_call(&get, &[thunk, field], &[], &mut host);
        thunk = program.value_to_thunk(&value.map_err(|error| host.failed(&program, &error))?);
    }
    let value = program.eval_value(&thunk, &mut host).map_err(|error| host.failed(&program, &error))?;
    program.manifest_json(&value, true).map_err(|error| host.failed(&program, &error))
}

struct Host<'e, 'a, 'p> {
    evaluator: &'e Evaluator<'a>,
    files: Vec<(SpanContextId, SourceFile)>,
    thunks: BTreeMap<String, Thunk<'p>>,
    main: String,
    /// Why the last native function or import failed: the error itself has no room for it.
    stopped: Option<(&'static str, String)>,
}

impl<'p> Host<'_, '_, 'p> {
    fn load(
        &mut self,
        program: &mut Program<'p>,
        file: SourceFile,
    ) -> Result<Thunk<'p>, (SourceFile, Vec<Diagnostic>)> {
        if let Some((start, end)) = nesting::too_deep(&file.text) {
            let error =
                Diagnostic::error(codes::UNSUPPORTED, "nested too deep").label(Span::new(start, end), "given up here");
            let found = finish(vec![error], &file.text);
            return Err((file, found));
        }
        let (context, _) = program.span_manager_mut().insert_source_context(file.text.len());
        let loaded = program.load_source(context, file.text.as_bytes(), true, &file.path);
        loaded
            .map_err(|error| {
                let (message, span) = unreadable(&error);
                let mut diagnostic = Diagnostic::error(codes::BAD_VALUE, message);
                if let Some(span) = span {
                    let (_, start, end) = program.span_manager().get_span(span);
                    diagnostic = diagnostic.label(Span::new(start, end), "here");
                }
                let found = finish(vec![diagnostic], &file.text);
                (file.clone(), found)
            })
            .inspect(|_| self.files.push((context, file)))
    }

    fn file(&self, program: &Program<'p>, span: SpanId) -> Option<(&SourceFile, Span)> {
        let (context, start, end) = program.span_manager().get_span(span);
        let (_, file) = self.files.iter().find(|(known, _)| *known == context)?;
        Some((file, Span::new(start, end)))
    }

    /// In the first of our files that the trace leads through, from the inside.
    fn failed(&mut self, program: &Program<'p>, error: &EvalError) -> Problems {
        let (code, message) = match (&error.kind, self.stopped.take()) {
            (EvalErrorKind::NativeCallFailed | EvalErrorKind::ImportFailed { .. }, Some(why)) => why,
            (kind, _) => (codes::BAD_VALUE, wrong(kind)),
        };
        let in_trace = error.stack_trace.iter().rev().filter_map(|item| match item {
            EvalStackTraceItem::Expr { span }
            | EvalStackTraceItem::Variable { span, .. }
            | EvalStackTraceItem::Import { span } => Some(*span),
            EvalStackTraceItem::Call { span, .. }
            | EvalStackTraceItem::ArrayItem { span, .. }
            | EvalStackTraceItem::ObjectField { span, .. } => *span,
            _ => None,
        });
        let place = own_span(&error.kind).into_iter().chain(in_trace).find_map(|span| self.file(program, span));
        let diagnostic = Diagnostic::error(code, message);
        match place {
            Some((file, span)) => {
                vec![(file.clone(), finish(vec![diagnostic.label(span, "here")], &file.text))]
            }
            None => {
                // Of the whole: its beginning stands for it.
                let whole = self.files.iter().find(|(_, file)| file.path == self.main);
                let labelled =
                    |file: &SourceFile| finish(vec![diagnostic.label(Span::new(0, 1), "this file")], &file.text);
                whole.map(|(_, file)| (file.clone(), labelled(file))).into_iter().collect()
            }
        }
    }

    fn imported(&mut self, program: &Program<'p>, from: SpanId, path: &str) -> Result<SourceFile, ImportError> {
        let from = self.file(program, from).map(|(file, _)| file.path.clone()).unwrap_or_default();
        let path = if path.starts_with('/') { path.to_owned() } else { tidy(&beside(&from, path)) };
        match (self.evaluator.read)(&path) {
            Ok(text) if self.files.len() < MOST_FILES => Ok(SourceFile::new(path, text)),
            Ok(_) => self.refuse(codes::UNSUPPORTED, format!("more than {MOST_FILES} files are imported")),
            Err(why) => self.refuse(codes::NO_FILE, format!("cannot read `{}`: {why}", shorten(&path))),
        }
    }

    fn refuse<T>(&mut self, code: &'static str, message: String) -> Result<T, ImportError> {
        self.stopped = Some((code, message));
        Err(ImportError)
    }
}

impl<'p> Callbacks<'p> for Host<'_, '_, 'p> {
    fn import(&mut self, program: &mut Program<'p>, from: SpanId, path: &str) -> Result<Thunk<'p>, ImportError> {
        let file = self.imported(program, from, path)?;
        if let Some(thunk) = self.thunks.get(&file.path) {
            return Ok(thunk.clone());
        }
        let name = file.path.clone();
        match self.load(program, file) {
            Ok(thunk) => {
                self.thunks.insert(name, thunk.clone());
                Ok(thunk)
            }
            Err((file, found)) => {
                let (message, place) = found.first().map_or(("", String::new()), |one| {
                    let place = one.labels.first().map(|label| format!(":{}:{}", label.line, label.column));
                    (one.message.as_str(), place.unwrap_or_default())
                });
                self.refuse(codes::BAD_VALUE, format!("`{}{place}`: {message}", shorten(&file.path)))
            }
        }
    }

    fn import_str(&mut self, program: &mut Program<'p>, from: SpanId, path: &str) -> Result<String, ImportError> {
        self.imported(program, from, path).map(|file| file.text)
    }

    fn import_bin(&mut self, program: &mut Program<'p>, from: SpanId, path: &str) -> Result<Vec<u8>, ImportError> {
        self.imported(program, from, path).map(|file| file.text.into_bytes())
    }

    fn trace(&mut self, _: &mut Program<'p>, _: &str, _: &[EvalStackTraceItem]) {}

    fn native_call(
        &mut self,
        program: &mut Program<'p>,
        name: InternedStr<'p>,
        args: &[Value<'p>],
    ) -> Result<Value<'p>, NativeError> {
        let name = name.value().to_owned();
        let mut json = Vec::new();
        for arg in args {
            let text = match arg.to_string() {
                Some(text) => Ok(Json::from(text)),
                None => program.manifest_json(arg, false).map(|text| serde_json::from_str(&text).unwrap_or_default()),
            };
            json.push(text.map_err(|_| NativeError)?);
        }
        match self.evaluator.call(&name, &json) {
            Ok(value) => Ok(into_jsonnet(program, &value)),
            Err(Stop::Pending) if name.ends_with("caller_identity") => {
                let fields: serde_json::Map<String, Json> = ["Account", "Arn", "UserId"]
                    .map(|key| (key.to_owned(), Json::from("pending")))
                    .into_iter()
                    .collect();
                Ok(into_jsonnet(program, &Json::Object(fields)))
            }
            Err(Stop::Pending) => Ok(Value::string("pending")),
            Err(Stop::Missing(why)) => {
                self.stopped = Some((codes::MISSING_VALUE, why));
                Err(NativeError)
            }
            Err(Stop::Unsupported(why)) => {
                self.stopped = Some((codes::UNSUPPORTED, why));
                Err(NativeError)
            }
        }
    }
}

fn into_jsonnet<'p>(program: &mut Program<'p>, json: &Json) -> Value<'p> {
    match json {
        Json::Null => Value::null(),
        Json::Bool(value) => Value::bool(*value),
        Json::Number(number) => Value::number(number.as_f64().unwrap_or_default()),
        Json::String(text) => Value::string(text),
        Json::Array(items) => {
            let items: Vec<_> = items.iter().map(|item| into_jsonnet(program, item)).collect();
            program.make_array(&items)
        }
        Json::Object(map) => {
            let mut fields = Vec::new();
            for (key, value) in map {
                let value = into_jsonnet(program, value);
                fields.push((program.intern_str(key), value));
            }
            program.make_object(&fields)
        }
    }
}

/// Without `.` and `..` where they can be resolved.
fn tidy(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "." => {}
            ".." if parts.last().is_some_and(|last| !last.is_empty() && *last != "..") => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    parts.join("/")
}

fn unreadable(error: &LoadError) -> (String, Option<SpanId>) {
    use rsjsonnet_lang::lexer::LexError as L;
    use rsjsonnet_lang::parser::ParseError;
    match error {
        LoadError::Lex(lex) => {
            let (what, span) = match lex {
                L::InvalidChar { span, .. } => ("a character that means nothing in Jsonnet", span),
                L::InvalidUtf8 { span, .. } => ("not UTF-8", span),
                L::UnfinishedMultilineComment { span } => ("a comment without its end", span),
                L::UnfinishedString { span } => ("a string without its end", span),
                L::InvalidEscapeInString { span, .. }
                | L::IncompleteUnicodeEscape { span }
                | L::InvalidUtf16EscapeSequence { span, .. } => ("an escape that means nothing in Jsonnet", span),
                L::LeadingZeroInNumber { span }
                | L::MissingFracDigits { span }
                | L::MissingExpDigits { span }
                | L::MissingDigitAfterUnderscore { span }
                | L::ExpOverflow { span } => ("not a number", span),
                L::MissingLineBreakAfterTextBlockStart { span }
                | L::MissingWhitespaceTextBlockStart { span }
                | L::InvalidTextBlockTermination { span } => ("a text block that is not well formed", span),
            };
            (format!("not valid Jsonnet: {what}"), Some(*span))
        }
        LoadError::Parse(ParseError::Expected { span, .. }) => {
            ("not valid Jsonnet: something else is expected here".to_owned(), Some(*span))
        }
        LoadError::Analyze(analyze) => {
            let (what, span) = match analyze {
                AnalyzeError::UnknownVariable { span, name } => {
                    (format!("the variable `{}` is not known", shorten(name)), span)
                }
                AnalyzeError::SelfOutsideObject { self_span } => ("`self` outside of an object".to_owned(), self_span),
                AnalyzeError::SuperOutsideObject { super_span } => {
                    ("`super` outside of an object".to_owned(), super_span)
                }
                AnalyzeError::DollarOutsideObject { dollar_span } => {
                    ("`$` outside of an object".to_owned(), dollar_span)
                }
                AnalyzeError::RepeatedLocalName { repeated_span, name, .. }
                | AnalyzeError::RepeatedFieldName { repeated_span, name, .. }
                | AnalyzeError::RepeatedParamName { repeated_span, name, .. } => {
                    (format!("`{}` is given twice", shorten(name)), repeated_span)
                }
                AnalyzeError::PositionalArgAfterNamed { arg_span } => {
                    ("a positional argument after a named one".to_owned(), arg_span)
                }
                AnalyzeError::TextBlockAsImportPath { span } | AnalyzeError::ComputedImportPath { span } => {
                    ("the path of an import is a plain string".to_owned(), span)
                }
            };
            (format!("not valid Jsonnet: {what}"), Some(*span))
        }
    }
}

fn own_span(kind: &EvalErrorKind) -> Option<SpanId> {
    use EvalErrorKind as K;
    match kind {
        K::InvalidIndexedType { span, .. }
        | K::NumericIndexOutOfRange { span, .. }
        | K::UnknownObjectField { span, .. }
        | K::FieldOfNonObject { span }
        | K::CondIsNotBool { span, .. }
        | K::AssertFailed { span, .. }
        | K::ExplicitError { span, .. }
        | K::ImportFailed { span, .. } => Some(*span),
        K::CalleeIsNotFunction { span, .. }
        | K::InvalidBinaryOpTypes { span, .. }
        | K::CallParamNotBound { span, .. }
        | K::TooManyCallArgs { span, .. } => *span,
        _ => None,
    }
}

/// Values are not repeated: they may be secret.
fn wrong(kind: &EvalErrorKind) -> String {
    use EvalErrorKind as K;
    match kind {
        K::StackOverflow | K::InfiniteRecursion => "it calls itself without an end".to_owned(),
        K::UnknownObjectField { field_name, .. } => format!("there is no field `{}`", shorten(field_name)),
        K::UnknownExtVar { name } => format!("the external variable `{}` is not given", shorten(name)),
        K::CalleeIsNotFunction { .. } => {
            "what is called is no function: `std.native` knows those of docs/ecspresso.md".to_owned()
        }
        K::CallParamNotBound { param_name, .. } => format!("the argument `{}` is missing", shorten(param_name)),
        K::TooManyCallArgs { num_params, .. } => format!("it takes {num_params} arguments"),
        K::AssertFailed { message: Some(message), .. } | K::ExplicitError { message, .. } => {
            format!("the file's own check failed: {}", shorten(message))
        }
        K::AssertFailed { .. } | K::AssertEqualFailed { .. } => "the file's own check failed".to_owned(),
        K::ImportFailed { path, .. } => format!("`{}` cannot be imported", shorten(path)),
        K::NumericIndexOutOfRange { index, length, .. } => format!("there is no item {index} among {length}"),
        K::ManifestFunction => "a function is no JSON".to_owned(),
        K::DivByZero { .. } => "a division by zero".to_owned(),
        K::FieldOfNonObject { .. } => "a field of what is no object".to_owned(),
        K::InvalidStdFuncArgType { func_name, arg_index, .. } => {
            format!("argument {} of `std.{func_name}` has the wrong type", arg_index + 1)
        }
        _ => "a value has the wrong type, or is out of bounds".to_owned(),
    }
}
