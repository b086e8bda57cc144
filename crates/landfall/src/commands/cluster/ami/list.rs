//! `cluster ami list`: images that say what they were made from, and instances that make some. AWS is only read.

use landfall_cluster::ami::{Order, RECIPE, SOURCE};
use landfall_model::machine_image::ImageState;
use landfall_steps::machine_image::found;
use serde::Serialize;

use super::Site;
use crate::cli::cluster::AmiArgs;
use crate::commands::port_error;
use crate::error::CliResult;
use crate::exit::ExitCode;
use crate::printer::Printer;

/// As printed with `--output json`.
#[derive(Debug, Serialize)]
struct Listed {
    source_ami: String,
    recipe: Option<String>,
    images: Vec<ListedImage>,
    builders: Vec<ListedBuilder>,
}

#[derive(Debug, Serialize)]
struct ListedImage {
    id: String,
    /// It is what `build` would use.
    used: bool,
    state: String,
    created: Option<String>,
    source_ami: Option<String>,
    recipe: Option<String>,
    name: String,
}

#[derive(Debug, Serialize)]
struct ListedBuilder {
    id: String,
    state: String,
    launched: Option<String>,
}

pub(in crate::commands::cluster) async fn list(args: &AmiArgs, printer: &Printer) -> CliResult<ExitCode> {
    let site = Site::of(args, printer).await?;
    let facts = found(&*site.reach.images).await.map_err(port_error)?;
    let used = site.order.made(&facts.images).map(|one| one.id.clone());
    let image = |one: &ImageState| ListedImage {
        id: one.id.clone(),
        used: used.as_ref() == Some(&one.id),
        state: one.state.clone(),
        created: one.created.map(|at| at.to_string()),
        source_ami: one.tags.get(SOURCE).cloned(),
        recipe: one.tags.get(RECIPE).cloned(),
        name: one.name.clone(),
    };
    let mut images: Vec<ListedImage> = facts.images.iter().map(image).collect();
    images.sort_by(|a, b| b.created.cmp(&a.created));
    let there = facts.builders.iter().filter(|one| one.state != "terminated");
    let builders = there.map(|one| ListedBuilder {
        id: one.id.clone(),
        state: one.state.clone(),
        launched: one.launched.map(|at| at.to_string()),
    });
    let Order { source, recipe } = site.order;
    let listed = Listed { source_ami: source, recipe, images, builders: builders.collect() };
    printer.note(format_args!("source {}, script {}", listed.source_ami, listed.recipe.as_deref().unwrap_or("none")));
    printer.emit(&listed, text)?;
    Ok(ExitCode::Ok)
}

fn text(listed: &Listed) -> String {
    let mut text = String::new();
    for one in &listed.images {
        let (mark, created) = (if one.used { '*' } else { ' ' }, one.created.as_deref().unwrap_or("-"));
        let (source, recipe) = (one.source_ami.as_deref().unwrap_or("-"), one.recipe.as_deref().unwrap_or("-"));
        text.push_str(&format!("{mark} {}  {}  {created}  source {source}  script {recipe}\n", one.id, one.state));
    }
    for one in &listed.builders {
        text.push_str(&format!("  {}  {}  {}  a builder\n", one.id, one.state, one.launched.as_deref().unwrap_or("-")));
    }
    text
}
