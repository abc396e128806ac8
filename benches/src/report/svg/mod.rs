//! Plots as SVG. Colours are classes of the page's style sheet, so that they follow light and dark.

#![allow(clippy::cast_precision_loss, reason = "numbers of rows and pixels")]

mod bars;
mod dots;
mod lines;
mod scale;

pub(super) use self::bars::{Bar, bars};
pub(super) use self::dots::{Dots, dots};
pub(super) use self::lines::{Axes, Line, lines};
pub(super) use self::scale::Unit;

const WIDTH: f64 = 860.0;
const LABELS: f64 = 150.0;

fn open(height: f64, label: &str) -> String {
    format!(
        "<div class='plot'><svg viewBox='0 0 {WIDTH} {height:.0}' role='img' aria-label='{}'>",
        escape(label)
    )
}

fn grid_x(x: f64, top: f64, bottom: f64, label: &str) -> String {
    format!("<path class='grid' d='M{x:.1} {top}V{bottom:.1}'/>")
        + &text(x, bottom + 16.0, "middle", "quiet", label)
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
