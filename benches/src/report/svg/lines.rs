//! Lines over an axis, with the names of the contenders at their ends.

use super::super::number;
use super::scale::{Scale, Unit};
use super::{WIDTH, escape, grid_x, name_x, open, text};

/// One contender over the x axis.
pub(in crate::report) struct Line {
    pub(in crate::report) label: String,
    pub(in crate::report) class: String,
    pub(in crate::report) points: Vec<(f64, f64)>,
}

/// How a plot of lines is drawn.
pub(in crate::report) struct Axes<'a> {
    pub(in crate::report) x: &'a str,
    pub(in crate::report) y: &'a str,
    pub(in crate::report) is_x_log: bool,
    pub(in crate::report) is_y_log: bool,
    pub(in crate::report) y_unit: Unit,
}

/// Lines with points; each has its name at its end, in its colour.
pub(in crate::report) fn lines(lines: &[Line], axes: &Axes<'_>) -> String {
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

        self.svg
            .push(grid_x(&self.x_scale, Unit::Number, Self::TOP, Self::BOTTOM));

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
        self.svg
            .push(name_x(Self::LEFT, Self::RIGHT, Self::BOTTOM, self.axes.x));
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

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "round values, which are exact")]
mod tests {
    use super::*;

    #[test]
    fn labels_are_moved_apart_and_stay_above_the_bottom() {
        assert_eq!(apart(&[10.0, 12.0, 50.0], 10.0, 100.0), [10.0, 20.0, 50.0]);
        assert_eq!(apart(&[95.0, 98.0], 10.0, 100.0), [90.0, 100.0]);
    }
}
