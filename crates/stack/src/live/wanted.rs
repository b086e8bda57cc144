//! What a stack shall be: its template, and an image for each of its parameters.
//!
//! The template carries, as metadata, which images it was applied with. Who sets a parameter past Landfall leaves that as it is, and so
//! is found out: what runs then is nobody's release, and is not kept silently.

use std::borrow::Cow;
use std::collections::BTreeMap;

use landfall_model::app::{App, ImageSource, LongLivedEnvironment};
use landfall_model::cloudformation::StackState;
use landfall_model::inventory::{TAG_ENVIRONMENT, Tags};
use landfall_model::stack::stack_name;
use serde::{Deserialize, Serialize};

use crate::build::{Unfit, template};
use crate::expr::Id;
use crate::limits::{BODY, Excess, excess};

/// All that a change set is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    pub stack: String,
    /// `shop@prod`: the tag that says whose the stack is.
    pub environment: String,
    /// Tags beside it.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub labels: Tags,
    pub template: String,
    /// Where it is put first, if it is too long for a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload: Option<String>,
    /// `None`: what the stack has.
    pub parameters: BTreeMap<String, Option<String>>,
    pub role: Option<String>,
    /// Termination protection.
    pub protected: bool,
}

impl Wanted {
    pub fn tags(&self) -> Tags {
        let own = [(TAG_ENVIRONMENT.to_owned(), self.environment.clone())];
        self.labels.clone().into_iter().chain(own).collect()
    }

    /// Images that are given anew and are others than the stack has.
    pub fn images_changed(&self, live: Option<&StackState>) -> Vec<ImageChange> {
        let changed = self.parameters.iter().filter_map(|(parameter, value)| {
            let (from, to) = (live.and_then(|live| live.parameters.get(parameter)), value.as_ref()?);
            let change = || ImageChange { parameter: parameter.clone(), from: from.cloned(), to: to.clone() };
            (from != Some(to)).then(change)
        });
        changed.collect()
    }
}

/// What termination protection is to become; `None`: it is as it is wanted.
pub fn protects(live: Option<&StackState>, wanted: bool) -> Option<bool> {
    (live.is_some_and(|live| live.protected) != wanted).then_some(wanted)
}

/// A parameter that gets another image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImageChange {
    pub parameter: String,
    /// `None`: the stack has none.
    pub from: Option<String>,
    pub to: String,
}

/// A container whose image comes with each release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageParameter {
    pub service: String,
    pub container: String,
    /// `WebAppImage`
    pub parameter: String,
    /// `{commit}` in it is the release's.
    pub awaited: Option<String>,
}

/// A parameter that is not what Landfall set it to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Overwritten {
    pub parameter: String,
    pub set: String,
    pub found: String,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unwanted {
    #[error(transparent)]
    Unfit(#[from] Unfit),
    #[error(transparent)]
    Excess(#[from] Excess),
    #[error(
        "the template has {0} bytes, and CloudFormation takes {BODY} with a request: a longer one it reads from S3, and no `stack.template_bucket` \
         is named"
    )]
    Nowhere(usize),
    #[error("container {name}: {why}")]
    NoContainer { name: String, why: &'static str },
    #[error("no image for {0}")]
    Missing(String),
    #[error("{}", said(.0))]
    Overwritten(Vec<Overwritten>),
}

fn said(all: &[Overwritten]) -> String {
    let one = |one: &Overwritten| format!("{} was {} and is now {}", one.parameter, one.set, one.found);
    format!(
        "somebody set parameters of the stack past Landfall: {}",
        all.iter().map(one).collect::<Vec<_>>().join("; ")
    )
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Metadata {
    pub landfall: Applied,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Applied {
    pub environment: String,
    /// By parameter.
    pub images: BTreeMap<String, String>,
}

pub fn images(app: &App, environment: &LongLivedEnvironment) -> Vec<ImageParameter> {
    let services = environment.services.iter().filter_map(|name| app.services.get(name));
    let containers = services.flat_map(|service| service.containers.iter().map(move |container| (service, container)));
    containers
        .filter(|(_, container)| !matches!(container.image, ImageSource::Reference(_)))
        .map(|(service, container)| ImageParameter {
            service: service.name.clone(),
            container: container.name.clone(),
            parameter: Id::of(&[&service.name, &container.name, "Image"]).to_string(),
            awaited: match &container.image {
                ImageSource::Await(source) => Some(source.image.clone()),
                _ => None,
            },
        })
        .collect()
}

/// `live`: the stack that is there, and its template.
///
/// # Errors
/// An image that nobody knows; one that somebody else set and that `given` does not say again; a template that does not fit.
pub fn wanted(
    app: &App,
    environment: &LongLivedEnvironment,
    given: &Given,
    live: Option<(&StackState, Option<&str>)>,
) -> Result<Wanted, Unwanted> {
    let has = |name: &str| live.and_then(|(stack, _)| stack.parameters.get(name));
    let mut parameters = BTreeMap::new();
    let mut applied = Applied { environment: environment.id(&app.project).to_string(), ..Applied::default() };
    let mut missing = Vec::new();
    for image in images(app, environment) {
        let value = given.parameters.get(&image.parameter);
        let Some(known) = value.or_else(|| has(&image.parameter)) else {
            missing.push(format!("{}/{}", image.service, image.container));
            continue;
        };
        applied.images.insert(image.parameter.clone(), known.clone());
        parameters.insert(image.parameter, value.cloned());
    }
    if !missing.is_empty() {
        return Err(Unwanted::Missing(missing.join(", ")));
    }
    let foreign = live.map(|(stack, template)| overwritten(stack, template)).unwrap_or_default();
    let kept = |one: &Overwritten| parameters.get(&one.parameter) == Some(&None);
    let kept: Vec<Overwritten> = foreign.into_iter().filter(kept).collect();
    if !kept.is_empty() {
        return Err(Unwanted::Overwritten(kept));
    }
    let mut app = Cow::Borrowed(app);
    for ((service, container), image) in &given.references {
        let service = app.to_mut().services.get_mut(service);
        let container = service.and_then(|own| own.containers.iter_mut().find(|one| one.name == *container));
        if let Some(container) = container {
            container.image = ImageSource::Reference(image.clone());
        }
    }
    let mut made = template(&app, &environment.name, None)?;
    made.metadata = Some(Metadata { landfall: applied.clone() });
    let template = made.compact();
    excess(&made, &template)?;
    let stack = environment.stack.as_ref();
    let upload = match template.len() {
        0..=BODY => None,
        bytes => Some(stack.and_then(|stack| stack.template_bucket.clone()).ok_or(Unwanted::Nowhere(bytes))?),
    };
    Ok(Wanted {
        stack: stack_name(&app.project, &environment.name),
        environment: applied.environment,
        labels: Tags::new(),
        template,
        upload,
        parameters,
        role: stack.and_then(|stack| stack.role.clone()),
        protected: stack.is_some_and(|stack| stack.termination_protection),
    })
}

/// Parameters that are not what the stack's own template says that they were set to.
pub fn overwritten(stack: &StackState, template: Option<&str>) -> Vec<Overwritten> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "PascalCase", default)]
    struct Whole {
        metadata: Metadata,
    }
    let whole: Whole = template.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let images = whole.metadata.landfall.images.into_iter();
    let found = images.filter_map(|(parameter, set)| {
        let found = stack.parameters.get(&parameter).filter(|found| **found != set)?.clone();
        Some(Overwritten { parameter, set, found })
    });
    found.collect()
}

/// Images that somebody named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Given {
    /// By parameter.
    pub parameters: BTreeMap<String, String>,
    /// By service and container: instead of what the manifest says, in the template itself.
    pub references: BTreeMap<(String, String), String>,
}

/// Images that were named by container, and perhaps service. Later ones count.
///
/// # Errors
/// `NoContainer`: none, or more than one, has that name.
pub fn given(
    app: &App,
    environment: &LongLivedEnvironment,
    named: &[(Option<String>, String, String)],
) -> Result<Given, Unwanted> {
    let parameters = images(app, environment);
    let services = || environment.services.iter().filter_map(|name| app.services.get(name));
    let mut given = Given::default();
    for (service, container, image) in named {
        let of = services().filter(|own| service.as_ref().is_none_or(|service| own.name == *service));
        let fitting: Vec<&str> = of
            .filter(|own| own.containers.iter().any(|one| one.name == *container))
            .map(|own| own.name.as_str())
            .collect();
        let why = match fitting.as_slice() {
            [own] => {
                let parameter = parameters.iter().find(|one| one.service == **own && one.container == *container);
                match parameter {
                    Some(one) => given.parameters.insert(one.parameter.clone(), image.clone()),
                    None => given.references.insert(((*own).to_owned(), container.clone()), image.clone()),
                };
                continue;
            }
            [] => "the environment has no such container",
            _ => "several services have one, so say SERVICE/CONTAINER",
        };
        let name = service.iter().chain([container]).cloned().collect::<Vec<_>>().join("/");
        return Err(Unwanted::NoContainer { name, why });
    }
    Ok(given)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_anew_changes_what_is_there() {
        let texts =
            |all: &[(&str, &str)]| all.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let live = StackState { parameters: texts(&[("A", "1"), ("B", "1"), ("C", "1")]), ..StackState::default() };
        let given = [("A", None), ("B", Some("1")), ("C", Some("2")), ("D", Some("1"))];
        let parameters = given.map(|(key, value)| (key.to_owned(), value.map(str::to_owned))).into();
        let wanted = Wanted { parameters, ..Wanted::default() };
        let told = |live: Option<&StackState>| {
            let all = wanted.images_changed(live).into_iter();
            all.map(|one| format!("{} {} {}", one.parameter, one.from.unwrap_or_default(), one.to)).collect::<Vec<_>>()
        };
        assert_eq!(told(Some(&live)), ["C 1 2", "D  1"]);
        assert_eq!(told(None), ["B  1", "C  2", "D  1"]);

        let on = StackState { protected: true, ..StackState::default() };
        let all = [(None, false), (None, true), (Some(&live), true), (Some(&on), true), (Some(&on), false)];
        assert_eq!(all.map(|(live, wanted)| protects(live, wanted)), [None, Some(true), Some(true), None, Some(false)]);
    }

    #[test]
    fn what_somebody_else_set_is_found_by_what_the_template_says() {
        let stack = StackState {
            parameters: [("A", "1"), ("B", "2")].map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            ..StackState::default()
        };
        let template =
            r#"{"Metadata": {"Landfall": {"Environment": "shop@prod", "Images": {"A": "1", "B": "1", "C": "3"}}}}"#;
        let found = overwritten(&stack, Some(template));
        assert_eq!(found, [Overwritten { parameter: "B".into(), set: "1".into(), found: "2".into() }]);
        for nothing in [None, Some("not JSON"), Some("{}"), Some(r#"{"Metadata": {"Other": 1}}"#)] {
            assert_eq!(overwritten(&stack, nothing), []);
        }
    }
}
