//! `docs/performance.svg`: bars, readable on light and dark ground alike.

use crate::table::{Section, Table, number};

const WIDTH: f64 = 860.0;
const NAMES: f64 = 330.0;
const BARS: f64 = 430.0;
const LINE: f64 = 24.0;

/// Calls a second beside other services, and each call's share of its limit.
pub(crate) fn draw(table: &Table) -> String {
    let (rates, ratios) = (table.rates(Section::Peers), table.ratios(Section::Service));
    let mut y = LINE;
    let mut body = group("Calls a second, on the same cores and the same Redis", &rates, 0, &mut y);
    body += &group("Part of what the limit allows, calls a second", &ratios, 2, &mut y);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {y}\" role=\"img\" \
         aria-label=\"Throughput of Token Authority\">\n<style>\ntext {{ font: 13px system-ui, sans-serif; fill: #24292f }}\n\
         .head {{ font-weight: 600 }}\n.ours {{ fill: #0969da }}\n.theirs {{ fill: #8c959f }}\n\
         @media (prefers-color-scheme: dark) {{ text {{ fill: #e6edf3 }} .ours {{ fill: #4493f8 }} .theirs {{ fill: #6e7681 }} }}\n\
         </style>\n{body}</svg>\n"
    )
}

fn group(head: &str, bars: &[(String, f64)], digits: usize, y: &mut f64) -> String {
    let most = bars.iter().map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max);
    if bars.is_empty() {
        return String::new();
    }
    let mut text = format!("<text class=\"head\" x=\"8\" y=\"{y}\">{head}</text>\n");
    for (name, value) in bars {
        *y += LINE;
        let length = (value / most * BARS).max(1.0);
        let theirs = name.contains(": ") && !name.contains("this service");
        let class = if theirs { "theirs" } else { "ours" };
        let (top, end) = (*y - 13.0, NAMES + length + 6.0);
        text += &format!(
            "<text x=\"{}\" y=\"{y}\" text-anchor=\"end\">{name}</text><rect class=\"{class}\" x=\"{NAMES}\" y=\"{top}\" \
             width=\"{length:.1}\" height=\"16\" rx=\"2\"/><text x=\"{end:.1}\" y=\"{y}\">{}</text>\n",
            NAMES - 8.0,
            number(Some(*value), digits),
        );
    }
    *y += 2.0 * LINE;
    text
}
