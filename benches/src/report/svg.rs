//! Plots as SVG. Colours are classes of the page's style sheet, so that they follow light and dark.

#![allow(clippy::cast_precision_loss, reason = "numbers of rows and pixels")]

use super::{number, time};

/// From values to pixels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    from: f64,
    to: f64,
    pixels_from: f64,
    pixels_to: f64,
    is_log: bool,
}

impl Scale {
    /// From 0.
    pub(super) fn linear(to: f64, pixels_from: f64, pixels_to: f64) -> Self {
        Self {
            from: 0.0,
            to,
            pixels_from,
            pixels_to,
            is_log: false,
        }
    }

    /// Equal factors are equally far apart. Covers all values, which are above 0, from tick to tick.
    pub(super) fn log(
        values: impl Iterator<Item = f64> + Clone,
        pixels_from: f64,
        pixels_to: f64,
    ) -> Self {
        let least = values.clone().fold(f64::INFINITY, f64::min);
        let most = values.fold(least, f64::max);
        let power = |value: f64| 10f64.powf(value.log10().floor());

        let from = [5.0, 2.0, 1.0]
            .map(|step| step * power(least))
            .into_iter()
            .find(|tick| *tick <= least);
        let to = [1.0, 2.0, 5.0, 10.0]
            .map(|step| step * power(most))
            .into_iter()
            .find(|tick| *tick >= most);
        let (from, to) = (from.unwrap_or(least), to.unwrap_or(most));

        // A single value is put in the middle.
        let (from, to) = if from < to {
            (from, to)
        } else {
            (from / 2.0, from * 2.0)
        };

        Self {
            from,
            to,
            pixels_from,
            pixels_to,
            is_log: true,
        }
    }

    /// Where a value lies.
    pub(super) fn at(&self, value: f64) -> f64 {
        let share = if self.is_log {
            (value / self.from).ln() / (self.to / self.from).ln()
        } else {
            (value - self.from) / (self.to - self.from)
        };

        self.pixels_from + share * (self.pixels_to - self.pixels_from)
    }

    /// Round values within.
    fn ticks(&self) -> Vec<f64> {
        if self.is_log {
            let decades = (self.to / self.from).log10();
            let steps: &[f64] = if decades > 3.0 {
                &[1.0]
            } else {
                &[1.0, 2.0, 5.0]
            };

            #[allow(clippy::cast_possible_truncation, reason = "an exponent of ten")]
            let exponents = self.from.log10().floor() as i32..=self.to.log10().ceil() as i32;
            let all = exponents
                .flat_map(|exponent| steps.iter().map(move |step| step * 10f64.powi(exponent)));

            // Powers of ten are not exact.
            all.filter(|tick| (self.from * 0.999..=self.to * 1.001).contains(tick))
                .collect()
        } else {
            let rough = (self.to - self.from) / 4.0;
            let power = 10f64.powf(rough.log10().floor());
            let step = [1.0, 2.0, 5.0, 10.0]
                .map(|step| step * power)
                .into_iter()
                .find(|step| *step >= rough);
            let step = step.unwrap_or(rough);

            let mut ticks = Vec::new();
            let mut tick = self.from;
            while tick <= self.to * 1.001 {
                ticks.push(tick);
                tick += step;
            }

            ticks
        }
    }
}

/// How an axis writes its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Number,
    /// Microseconds are given.
    Time,
}

impl Unit {
    fn tick(self, value: f64) -> String {
        let text = match self {
            Self::Number if value >= 1e6 => format!("{}M", value / 1e6),
            Self::Number if value >= 1e4 => format!("{}k", value / 1e3),
            Self::Number if value < 1e3 => format!("{value}"),
            Self::Number => number(value),
            Self::Time if value >= 1e6 => format!("{} s", value / 1e6),
            Self::Time if value >= 1e3 => format!("{} ms", value / 1e3),
            Self::Time => format!("{value} µs"),
        };

        // Ticks are sums and products of inexact numbers.
        if text.len() > 9 {
            format!("{value:.2}")
        } else {
            text
        }
    }

    fn value(self, value: f64) -> String {
        match self {
            Self::Number => number(value),
            Self::Time => time(value),
        }
    }
}

/// One bar, with its spread.
pub(super) struct Bar {
    pub(super) label: String,
    pub(super) class: String,
    pub(super) value: f64,
    pub(super) spread: Option<(f64, f64)>,
    /// Is written after the value.
    pub(super) note: String,
}

const WIDTH: f64 = 860.0;
const LABELS: f64 = 150.0;

/// Bars from left to right, the label on the left and the value behind the bar.
pub(super) fn bars(bars: &[Bar], axis: &str) -> String {
    const ROW: f64 = 26.0;

    let most = bars
        .iter()
        .map(|bar| bar.spread.map_or(bar.value, |(_, max)| max.max(bar.value)))
        .fold(0.0, f64::max);

    // Room for the text behind the longest.
    let scale = Scale::linear(most.max(f64::MIN_POSITIVE), LABELS, WIDTH - 230.0);
    let bottom = ROW * bars.len() as f64 + 6.0;
    let mut svg = vec![open(bottom + 44.0, axis)];

    for tick in scale.ticks() {
        svg.push(grid_x(
            scale.at(tick),
            0.0,
            bottom,
            &Unit::Number.tick(tick),
        ));
    }

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

    svg.push(text(
        f64::midpoint(LABELS, WIDTH - 230.0),
        bottom + 38.0,
        "middle",
        "quiet",
        axis,
    ));
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

/// Several values of one contender on one line.
pub(super) struct Dots {
    pub(super) label: String,
    pub(super) class: String,
    pub(super) values: Vec<f64>,
}

/// Values on a line each, on a logarithmic axis; `names` says what the first, the second… is.
pub(super) fn dots(lines: &[Dots], names: &[&str], axis: &str) -> String {
    const ROW: f64 = 30.0;
    const TOP: f64 = 26.0;

    let scale = Scale::log(
        lines.iter().flat_map(|line| line.values.iter().copied()),
        LABELS + 20.0,
        WIDTH - 70.0,
    );

    let bottom = TOP + ROW * lines.len() as f64;
    let mut svg = vec![open(bottom + 44.0, axis)];

    // The shapes' meaning, in a line at the top.
    for (i, name) in names.iter().enumerate() {
        let x = LABELS + 20.0 + 190.0 * i as f64;
        svg.push(mark(i, x, 8.0, "legend"));
        svg.push(text(x + 12.0, 12.0, "start", "quiet", name));
    }

    for tick in scale.ticks() {
        svg.push(grid_x(
            scale.at(tick),
            TOP - 6.0,
            bottom,
            &Unit::Time.tick(tick),
        ));
    }

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

    svg.push(text(
        f64::midpoint(LABELS, WIDTH),
        bottom + 38.0,
        "middle",
        "quiet",
        axis,
    ));
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

/// One contender over the x axis.
pub(super) struct Line {
    pub(super) label: String,
    pub(super) class: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// How a plot of lines is drawn.
pub(super) struct Axes<'a> {
    pub(super) x: &'a str,
    pub(super) y: &'a str,
    pub(super) is_x_log: bool,
    pub(super) is_y_log: bool,
    pub(super) y_unit: Unit,
}

/// Lines with points; each has its name at its end, in its colour.
pub(super) fn lines(lines: &[Line], axes: &Axes<'_>) -> String {
    let mut plot = LinePlot::of(lines, axes);
    plot.draw_grid();
    for line in lines {
        plot.draw_line(line);
    }
    plot.draw_names(lines);

    plot.end()
}

/// A plot of lines under way.
struct LinePlot<'a> {
    axes: &'a Axes<'a>,
    x_scale: Scale,
    y_scale: Scale,
    svg: Vec<String>,
}

impl<'a> LinePlot<'a> {
    const TOP: f64 = 26.0;
    const BOTTOM: f64 = 350.0;
    const LEFT: f64 = 70.0;
    const RIGHT: f64 = WIDTH - 150.0;

    /// A plot that has room for all points of the lines, and nothing in it.
    fn of(lines: &[Line], axes: &'a Axes<'a>) -> Self {
        let points = || lines.iter().flat_map(|line| line.points.iter().copied());
        let xs = points().map(|(x, _)| x);
        let ys = points().map(|(_, y)| y);

        let scale = |is_log: bool, values: Vec<f64>, from, to| {
            if is_log {
                Scale::log(values.into_iter(), from, to)
            } else {
                let most = values.into_iter().fold(f64::MIN_POSITIVE, f64::max);
                Scale::linear(most, from, to)
            }
        };

        Self {
            axes,
            x_scale: scale(axes.is_x_log, xs.collect(), Self::LEFT, Self::RIGHT),
            y_scale: scale(axes.is_y_log, ys.collect(), Self::BOTTOM, Self::TOP),
            svg: vec![open(Self::BOTTOM + 50.0, axes.y)],
        }
    }

    /// Draws the ticks of both axes, and the name of the y axis above it.
    fn draw_grid(&mut self) {
        self.svg
            .push(text(0.0, 12.0, "start", "quiet", self.axes.y));

        for tick in self.x_scale.ticks() {
            self.svg.push(grid_x(
                self.x_scale.at(tick),
                Self::TOP,
                Self::BOTTOM,
                &Unit::Number.tick(tick),
            ));
        }

        for tick in self.y_scale.ticks() {
            let y = self.y_scale.at(tick);
            self.svg.push(format!(
                "<path class='grid' d='M{} {y:.1}H{}'/>",
                Self::LEFT,
                Self::RIGHT
            ));
            self.svg.push(text(
                Self::LEFT - 8.0,
                y + 4.0,
                "end",
                "quiet",
                &self.axes.y_unit.tick(tick),
            ));
        }
    }

    /// Draws a line and its points, each of which says in a title what it is.
    fn draw_line(&mut self, line: &Line) {
        let path = line.points.iter().enumerate().map(|(i, point)| {
            let command = if i == 0 { 'M' } else { 'L' };
            let (x, y) = self.at(*point);
            format!("{command}{x:.1} {y:.1}")
        });
        let path: String = path.collect();
        self.svg
            .push(format!("<path class='{} line' d='{path}'/>", line.class));

        for point in &line.points {
            let title = format!(
                "{}: {} at {}",
                line.label,
                self.axes.y_unit.value(point.1),
                number(point.0)
            );
            let (x, y) = self.at(*point);
            self.svg.push(format!(
                "<circle class='{} fill' cx='{x:.1}' cy='{y:.1}' r='3.5'><title>{}</title></circle>",
                line.class,
                escape(&title)
            ));
        }
    }

    /// Writes the lines' names in a column, far enough apart to be read; a thin line leads to each from the end of
    /// its own.
    fn draw_names(&mut self, lines: &[Line]) {
        let mut ends: Vec<(f64, f64, &Line)> = Vec::new();
        for line in lines {
            if let Some(last) = line.points.last() {
                let (x, y) = self.at(*last);
                ends.push((y, x, line));
            }
        }
        ends.sort_by(|(a, ..), (b, ..)| a.total_cmp(b));

        let label_ys = apart(
            &ends.iter().map(|(y, ..)| *y).collect::<Vec<_>>(),
            17.0,
            Self::BOTTOM,
        );

        for ((y, x, line), label_y) in ends.into_iter().zip(label_ys) {
            let (from, to) = (x + 6.0, Self::RIGHT + 10.0);
            self.svg.push(format!(
                "<path class='{} line lead' d='M{from:.1} {y:.1}L{to:.1} {label_y:.1}'/>",
                line.class
            ));
            self.svg.push(text(
                Self::RIGHT + 14.0,
                label_y + 4.0,
                "start",
                &format!("{} name", line.class),
                &line.label,
            ));
        }
    }

    /// Writes the name of the x axis below it; the drawing is complete then.
    fn end(mut self) -> String {
        self.svg.push(text(
            f64::midpoint(Self::LEFT, Self::RIGHT),
            Self::BOTTOM + 40.0,
            "middle",
            "quiet",
            self.axes.x,
        ));
        self.svg.push("</svg></div>".into());

        self.svg.concat()
    }

    /// Where a point lies.
    fn at(&self, (x, y): (f64, f64)) -> (f64, f64) {
        (self.x_scale.at(x), self.y_scale.at(y))
    }
}

/// Moves sorted positions down until they are `distance` apart, and up again as far as `bottom` needs.
fn apart(sorted: &[f64], distance: f64, bottom: f64) -> Vec<f64> {
    let mut moved = sorted.to_vec();
    for i in 1..moved.len() {
        moved[i] = moved[i].max(moved[i - 1] + distance);
    }

    let mut lowest = bottom;
    for y in moved.iter_mut().rev() {
        *y = y.min(lowest);
        lowest = *y - distance;
    }

    moved
}

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
#[allow(clippy::float_cmp, reason = "round values, which are exact")]
mod tests {
    use super::*;

    #[test]
    fn a_linear_scale_begins_at_nought() {
        let scale = Scale::linear(200.0, 100.0, 300.0);
        assert_eq!(
            [0.0, 50.0, 200.0].map(|value| scale.at(value)),
            [100.0, 150.0, 300.0]
        );
        assert_eq!(scale.ticks(), [0.0, 50.0, 100.0, 150.0, 200.0]);
    }

    #[test]
    fn on_a_logarithmic_scale_equal_factors_are_equally_far_apart() {
        let scale = Scale::log([1.0, 100.0].into_iter(), 0.0, 200.0);
        let at = [1.0, 10.0, 100.0].map(|value| scale.at(value).round());
        assert_eq!(at, [0.0, 100.0, 200.0]);
        assert_eq!(scale.ticks(), [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]);
    }

    #[test]
    fn a_logarithmic_scale_goes_from_tick_to_tick() {
        let scale = Scale::log([3.0, 42.0].into_iter(), 0.0, 100.0);
        assert_eq!(scale.ticks(), [2.0, 5.0, 10.0, 20.0, 50.0]);
        assert_eq!(
            [2.0, 50.0].map(|value| scale.at(value).round()),
            [0.0, 100.0]
        );
    }

    #[test]
    fn a_single_value_on_a_logarithmic_scale_is_in_the_middle() {
        let scale = Scale::log([5.0].into_iter(), 0.0, 100.0);
        assert_eq!(scale.at(5.0).round(), 50.0);
    }

    #[test]
    fn labels_are_moved_apart_and_stay_above_the_bottom() {
        assert_eq!(apart(&[10.0, 12.0, 50.0], 10.0, 100.0), [10.0, 20.0, 50.0]);
        assert_eq!(apart(&[95.0, 98.0], 10.0, 100.0), [90.0, 100.0]);
    }

    #[test]
    fn text_cannot_end_its_element() {
        assert_eq!(escape("a<b>'&"), "a&lt;b&gt;&#39;&amp;");
    }
}
