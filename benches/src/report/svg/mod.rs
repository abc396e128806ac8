//! Plots as SVG. Colours are classes of the page's style sheet, so that they follow light and dark.

#![allow(clippy::cast_precision_loss, reason = "numbers of rows and pixels")]

mod bars;
mod dots;
mod lines;
mod scale;

pub(super) use self::bars::{Bar, bars};
pub(super) use self::dots::{Dots, dots};
pub(super) use self::lines::{Axes, Line, lines};
use self::scale::Scale;
pub(super) use self::scale::Unit;

const WIDTH: f64 = 860.0;
const LABELS: f64 = 150.0;

fn open(height: f64, label: &str) -> String {
    format!(
        "<div class='plot'><svg viewBox='0 0 {WIDTH} {height:.0}' role='img' aria-label='{}'>",
        escape(label)
    )
}

/// The lines of a horizontal axis from `top` to `bottom`, each with its value below it.
fn grid_x(scale: &Scale, unit: Unit, top: f64, bottom: f64) -> String {
    let lines = scale.ticks().into_iter().map(|tick| {
        let x = scale.at(tick);
        format!("<path class='grid' d='M{x:.1} {top}V{bottom:.1}'/>")
            + &text(x, bottom + 16.0, "middle", "quiet", &unit.tick(tick))
    });
    lines.collect()
}

/// The name of a horizontal axis, below its values.
fn name_x(left: f64, right: f64, bottom: f64, name: &str) -> String {
    let middle = f64::midpoint(left, right);
    text(middle, bottom + 40.0, "middle", "quiet", name)
}

fn text(x: f64, y: f64, anchor: &str, class: &str, content: &str) -> String {
    format!(
        "<text class='{class}' x='{x:.1}' y='{y:.1}' text-anchor='{anchor}'>{}</text>",
        escape(content)
    )
}

/// For text and for attributes within single quotes.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_end_its_element() {
        assert_eq!(escape("a<b>'&"), "a&lt;b&gt;&#39;&amp;");
    }
}
