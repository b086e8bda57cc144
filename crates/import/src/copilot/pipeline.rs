//! Pipelines: only where the code is. Stages and approvals have no equivalent yet.

use super::Whole;
use crate::write::Lines;
use landfall_manifest::github::Repository;
use landfall_manifest::yaml::Map;

pub(super) fn write(map: &Map<'_>, path: &str, whole: &mut Whole<'_>, out: &mut Lines) {
    let source = map.map("source");
    let properties = source.map("properties");
    let provider = source.text("provider");
    let repository = properties.text("repository");
    let github = repository.as_deref().and_then(|url| {
        let plain = || Repository::parse(url).or_else(|_| Repository::of_origin(&format!("https://{url}")));
        Repository::of_origin(url).or_else(|_| plain()).ok()
    });
    match github.filter(|_| provider.as_deref().is_none_or(|provider| provider.starts_with("GitHub"))) {
        Some(github) if !out.0.contains(&format!("github: {github}\n")) => {
            out.line(1, format!("{}:", crate::write::name(&github.name)));
            out.text(2, "github", &github.to_string());
            out.text(2, "source", &format!("https://github.com/{github}.git"));
        }
        Some(_) => {}
        None => whole.changes.dropped(format!("{path}: source"), "only repositories on GitHub are known"),
    }
    for key in ["name", "version"] {
        map.text(key);
    }
    for stage in map.items("stages") {
        let name = stage.text("name").unwrap_or_default();
        let approval = if stage.boolean("requires_approval") == Some(true) { ", with an approval" } else { "" };
        let tests = if stage.has("test_commands") { ", with test commands" } else { "" };
        let text =
            format!("stage `{}`{approval}{tests}: pipelines are not built yet; CI deploys", name.escape_default());
        whole.changes.dropped(format!("{path}: stages"), text);
    }
    if let Some(branch) = properties.text("branch") {
        let text = format!("deployments began with a push to `{}`; CI decides that", branch.escape_default());
        whole.changes.dropped(format!("{path}: source.properties.branch"), text);
    }
    whole.rest(path, map, &[("build", "image builds stay in CI")]);
}
