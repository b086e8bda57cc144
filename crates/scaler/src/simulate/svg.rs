//! The plot: instances above, waiting tasks below, over the time of the trace, a line for each scaler.

use std::fmt::Write as _;

use super::{Outcome, Sample, Who};

const WIDTH: f64 = 900.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 20.0;
const PANEL: f64 = 220.0;
const GAP: f64 = 50.0;
const TOP: f64 = 74.0;

fn colour(who: Who) -> &'static str {
    // Told apart without colour too: by the dashes below.
    match who {
        Who::Landfall => "#0b6e4f",
        Who::Original => "#c44900",
        Who::Managed => "#3f4e9e",
    }
}

fn dashes(who: Who) -> &'static str {
    match who {
        Who::Landfall => "",
        Who::Original => " stroke-dasharray=\"2 3\"",
        Who::Managed => " stroke-dasharray=\"7 3\"",
    }
}

/// One trace, as each of them took it.
pub fn svg(title: &str, outcomes: &[Outcome]) -> String {
    let height = TOP + 2.0 * PANEL + GAP + 50.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\" role=\"img\">\n\
         <title>{}</title>\n<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"16\">{}</text>\n",
        escaped(title),
        escaped(title)
    );
    for (at, outcome) in outcomes.iter().enumerate() {
        let x = LEFT + 260.0 * at as f64;
        let _ = writeln!(
            out,
            "<line x1=\"{x}\" x2=\"{}\" y1=\"40\" y2=\"40\" stroke=\"{}\" stroke-width=\"2\"{}/><text x=\"{}\" y=\"44\">{}</text>",
            x + 24.0,
            colour(outcome.who),
            dashes(outcome.who),
            x + 30.0,
            escaped(outcome.who.name())
        );
    }
    panel(&mut out, TOP, "instances", outcomes, |sample| sample.instances);
    panel(&mut out, TOP + PANEL + GAP, "tasks that wait", outcomes, |sample| sample.waiting);
    out.push_str("</svg>\n");
    out
}

fn panel(out: &mut String, top: f64, name: &str, outcomes: &[Outcome], of: fn(&Sample) -> u64) {
    let samples = || outcomes.iter().flat_map(|outcome| &outcome.samples);
    let most = samples().map(of).max().unwrap_or(0).max(1);
    let last = samples().map(|sample| sample.second).max().unwrap_or(0).max(1);
    let (bottom, right) = (top + PANEL, WIDTH - RIGHT);
    let x = |second: u64| LEFT + (right - LEFT) * second as f64 / last as f64;
    let y = |value: u64| bottom - PANEL * value as f64 / most as f64;
    let _ = writeln!(
        out,
        "<text x=\"{LEFT}\" y=\"{}\">{name}</text>\n<path d=\"M{LEFT} {top}V{bottom}H{right}\" fill=\"none\" stroke=\"#888\"/>",
        top - 6.0
    );
    for (at, value) in [(0, 0), (1, most / 2), (2, most)] {
        if at == 1 && most < 2 {
            continue;
        }
        let _ =
            writeln!(out, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>", LEFT - 6.0, y(value) + 4.0);
    }
    for quarter in 0..=4u64 {
        let second = last * quarter / 4;
        let hours = second as f64 / 3600.0;
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{hours:.0} h</text>",
            x(second),
            bottom + 16.0
        );
    }
    for outcome in outcomes {
        let mut path = String::new();
        for (index, sample) in outcome.samples.iter().enumerate() {
            let to = y(of(sample));
            let _ = match index {
                0 => write!(path, "M{:.1} {to:.1}", x(sample.second)),
                _ => write!(path, "H{:.1}V{to:.1}", x(sample.second)),
            };
        }
        let _ = writeln!(
            out,
            "<path d=\"{path}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.5\"{}/>",
            colour(outcome.who),
            dashes(outcome.who)
        );
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
