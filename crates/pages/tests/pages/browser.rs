//! Pages as Chromium lays them out, on a phone's width and a desk's, light and dark: all of them in one document, which measures them.
//! `pages-light.png` and `pages-dark.png` in the target's test directory are for people to look at.

use std::path::Path;
use std::process::Command;

use crate::example;

const PHONE: u32 = 360;
const DESK: u32 = 1100;

/// Every page twice, in frames of its own, and a script (of this test, not of the pages) that writes down what it finds.
fn document() -> String {
    let mut frames = String::new();
    for (name, html) in example::all() {
        let source = html.replace('&', "&amp;").replace('"', "&quot;");
        for width in [PHONE, DESK] {
            frames += &format!(
                "<iframe name=\"{name}-{width}\" width=\"{width}\" height=\"1600\" srcdoc=\"{source}\"></iframe>\n"
            );
        }
    }
    format!(
        r#"<!doctype html><meta charset="utf-8"><meta name="color-scheme" content="light dark">
<style>iframe{{border:0;margin:8px;vertical-align:top}}</style>
{frames}<pre id="found"></pre>
<script>
addEventListener("load", () => {{
  const found = [];
  const luminance = (color) => {{
    const parts = color.match(/[\d.]+/g).slice(0, 3).map((part) => {{
      const value = part / 255;
      return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    }});
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  }};
  const behind = (view, element) => {{
    for (let at = element; at; at = at.parentElement) {{
      const color = view.getComputedStyle(at).backgroundColor;
      if (!/, 0\)$|transparent/.test(color)) return color;
    }}
    return "rgb(255, 255, 255)";
  }};
  for (const frame of document.querySelectorAll("iframe")) {{
    const view = frame.contentWindow, page = frame.contentDocument, say = (text) => found.push(frame.name + ": " + text);
    const wide = page.documentElement.scrollWidth;
    if (wide > frame.clientWidth) say("scrolls sideways, " + wide + " px");
    for (const element of page.querySelectorAll("button")) {{
      if (element.getBoundingClientRect().height < 44) say("a button is too low for a thumb");
    }}
    for (const element of page.querySelectorAll("textarea")) {{
      if (!page.querySelector("label[for=" + element.id + "]")) say("a field without a label");
    }}
    for (const element of page.body.querySelectorAll("*")) {{
      const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
      if (!own || !element.checkVisibility()) continue;
      const style = view.getComputedStyle(element);
      const [one, other] = [luminance(style.color), luminance(behind(view, element))];
      const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
      if (ratio < 4.5) say("contrast " + ratio.toFixed(2) + " of: " + element.textContent.trim().slice(0, 40));
    }}
  }}
  found.push("frames: " + document.querySelectorAll("iframe").length);
  found.push("dark: " + matchMedia("(prefers-color-scheme: dark)").matches);
  document.getElementById("found").textContent = found.join("\n");
}});
</script>"#
    )
}

fn chromium(document: &Path, dark: bool, more: &[&str]) -> String {
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-background-networking"])
        .args(["--virtual-time-budget=5000", "--window-size=1520,8200"])
        .arg(format!("--blink-settings=preferredColorScheme={}", u8::from(!dark)))
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(more)
        .arg(format!("file://{}", document.display()))
        .output()
        .expect("Debian's package chromium has it; ./test installs it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn chromium_finds_every_page_fit_to_read() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let file = directory.join("pages.html");
    std::fs::write(&file, document()).unwrap();
    for (dark, name) in [(false, "light"), (true, "dark")] {
        let picture = directory.join(format!("pages-{name}.png"));
        let dom = chromium(&file, dark, &["--dump-dom"]);
        let (_, found) = dom.split_once("<pre id=\"found\">").unwrap();
        let (found, _) = found.split_once("</pre>").unwrap();
        let frames = 2 * example::all().len();
        assert_eq!(found, format!("frames: {frames}\ndark: {dark}"), "{name}");
        chromium(&file, dark, &[&format!("--screenshot={}", picture.display())]);
        assert!(std::fs::metadata(&picture).unwrap().len() > 10_000, "{name}");
    }
}
