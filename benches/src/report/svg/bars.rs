//! Bars, with their spreads.

use super::super::number;
use super::scale::{Scale, Unit};
use super::{LABELS, WIDTH, grid_x, name_x, open, text};

/// One bar, with its spread.
pub(in crate::report) struct Bar {
    pub(in crate::report) label: String,
    pub(in crate::report) class: String,
    pub(in crate::report) value: f64,
    pub(in crate::report) spread: Option<(f64, f64)>,
    /// Is written after the value.
    pub(in crate::report) note: String,
}

/// Bars from left to right, the label on the left and the value behind the bar.
pub(in crate::report) fn bars(bars: &[Bar], axis: &str) -> String {
    const ROW: f64 = 26.0;

    let most = bars
        .iter()
        .map(|bar| bar.spread.map_or(bar.value, |(_, max)| max.max(bar.value)))
        .fold(0.0, f64::max);

    // Room for the text behind the longest.
    let scale = Scale::linear(most.max(f64::MIN_POSITIVE), LABELS, WIDTH - 230.0);
    let bottom = ROW * bars.len() as f64 + 6.0;
    let mut svg = vec![open(bottom + 46.0, axis)];
    svg.push(grid_x(&scale, Unit::Number, 0.0, bottom));

    for (i, bar) in bars.iter().enumerate() {
        let y = ROW * i as f64 + 6.0;
        let (end, middle) = (scale.at(bar.value), y + 9.0);

        svg.push(text(
            LABELS - 8.0,
            middle + 4.0,
            "end",
            &bar.class_of_text(),
            &bar.label,
        ));
        svg.push(format!(
            "<rect class='bar {} fill' x='{LABELS}' y='{y:.1}' width='{:.1}' height='18' rx='2'/>",
            bar.class,
            (end - LABELS).max(1.0)
        ));

        let mut behind = end;
        if let Some((min, max)) = bar.spread.filter(|(min, max)| min < max) {
            let (from, to) = (scale.at(min), scale.at(max));
            svg.push(format!(
                "<path class='spread' d='M{from:.1} {middle:.1}H{to:.1}M{from:.1} {:.1}v8M{to:.1} {:.1}v8'/>",
                middle - 4.0,
                middle - 4.0
            ));
            behind = behind.max(to);
        }

        let behind_text = format!("{}{}", number(bar.value), bar.note);
        svg.push(text(behind + 8.0, middle + 4.0, "start", "", &behind_text));
    }

    svg.push(name_x(LABELS, WIDTH - 230.0, bottom, axis));
    svg.push("</svg></div>".into());
    svg.concat()
}

impl Bar {
    fn class_of_text(&self) -> String {
        if self.class == "ours" {
            "strong".into()
        } else {
            String::new()
        }
    }
}
