//! What CloudFormation takes
//! (<https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html>).

use crate::template::Template;

const RESOURCES: usize = 500;
const PARAMETERS: usize = 200;
const OUTPUTS: usize = 200;
const ID: usize = 255;
/// Bytes of a template that is sent with a request; a longer one is uploaded to S3 first.
pub const BODY: usize = 51_200;
/// Bytes of a template at all.
const WHOLE: usize = 1_000_000;

/// More than CloudFormation takes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Excess {
    #[error("a stack has at most {most} {what}; this one would have {count}")]
    Count { what: &'static str, count: usize, most: usize },
    #[error("a logical id has at most {ID} letters and digits: {0}")]
    Id(String),
    #[error("a template has at most {WHOLE} bytes; this one has {0}")]
    Whole(usize),
}

/// # Errors
/// The first limit that is passed. `text`: the template as it is printed.
pub fn excess(template: &Template, text: &str) -> Result<(), Excess> {
    let counts = [
        ("resources", template.resources.len(), RESOURCES),
        ("parameters", template.parameters.len(), PARAMETERS),
        ("outputs", template.outputs.len(), OUTPUTS),
    ];
    if let Some((what, count, most)) = counts.into_iter().find(|(_, count, most)| count > most) {
        return Err(Excess::Count { what, count, most });
    }
    let ids = template.resources.iter().map(|(id, _)| id);
    let ids = ids.chain(template.parameters.iter().map(|(id, _)| id)).chain(template.outputs.iter().map(|(id, _)| id));
    if let Some(id) = ids.map(super::expr::Id::as_str).find(|id| id.len() > ID) {
        return Err(Excess::Id(id.to_owned()));
    }
    if text.len() > WHOLE { Err(Excess::Whole(text.len())) } else { Ok(()) }
}
