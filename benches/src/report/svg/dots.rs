//! Several values of a contender on one line.

use super::super::time;
use super::scale::{Scale, Unit};
use super::{LABELS, WIDTH, grid_x, name_x, open, text};

/// Several values of one contender on one line.
pub(in crate::report) struct Dots {
    pub(in crate::report) label: String,
    pub(in crate::report) class: String,
    pub(in crate::report) values: Vec<f64>,
}

/// Values on a line each, on a logarithmic axis; `names` says what the first, the second… is.
pub(in crate::report) fn dots(lines: &[Dots], names: &[&str], axis: &str) -> String {
    const ROW: f64 = 30.0;
    const TOP: f64 = 26.0;

    let scale = Scale::log(
        lines.iter().flat_map(|line| line.values.iter().copied()),
        LABELS + 20.0,
        WIDTH - 70.0,
    );

    let bottom = TOP + ROW * lines.len() as f64;
    let mut svg = vec![open(bottom + 46.0, axis)];

    // The shapes' meaning, in a line at the top.
    for (i, name) in names.iter().enumerate() {
        let x = LABELS + 20.0 + 190.0 * i as f64;
        svg.push(mark(i, x, 8.0, "legend"));
        svg.push(text(x + 12.0, 12.0, "start", "quiet", name));
    }

    svg.push(grid_x(&scale, Unit::Time, TOP - 6.0, bottom));

    for (row, line) in lines.iter().enumerate() {
        let y = TOP + ROW * row as f64 + ROW / 2.0;
        svg.push(text(
            LABELS - 8.0,
            y + 4.0,
            "end",
            if line.class == "ours" { "strong" } else { "" },
            &line.label,
        ));

        let ends = line.values.iter().map(|value| scale.at(*value));
        let (from, to) = (
            ends.clone().fold(f64::INFINITY, f64::min),
            ends.clone().fold(0.0, f64::max),
        );
        svg.push(format!(
            "<path class='{} line thin' d='M{from:.1} {y:.1}H{to:.1}'/>",
            line.class
        ));

        for (i, x) in ends.enumerate() {
            svg.push(mark(i, x, y, &line.class));
        }
        if let Some(last) = line.values.last() {
            svg.push(text(to + 12.0, y + 4.0, "start", "quiet", &time(*last)));
        }
    }

    svg.push(name_x(LABELS, WIDTH, bottom, axis));
    svg.push("</svg></div>".into());
    svg.concat()
}

/// A disc, a ring, a square: told apart without colours too.
fn mark(kind: usize, x: f64, y: f64, class: &str) -> String {
    match kind {
        0 => format!("<circle class='{class} fill' cx='{x:.1}' cy='{y:.1}' r='5'/>"),
        1 => format!("<circle class='{class} line ring' cx='{x:.1}' cy='{y:.1}' r='5'/>"),
        _ => {
            format!(
                "<rect class='{class} fill' x='{:.1}' y='{:.1}' width='9' height='9'/>",
                x - 4.5,
                y - 4.5
            )
        }
    }
}
