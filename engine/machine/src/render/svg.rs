//! Draws a graph that has been placed.

use std::fmt::Write;

use super::graph::{Edge, Graph, Node, Shape};
use super::layout::{Layout, Line, Point, Size, layout};
use super::text::{cut, escape, width, wrap};
use crate::event::StateType;

const NAME_PX: f64 = 13.0;
const NOTE_PX: f64 = 10.5;
const LABEL_PX: f64 = 10.5;
const TITLE_PX: f64 = 18.0;
/// Height of a line of text as a multiple of its size.
const LEADING: f64 = 1.3;
/// Bold letters are wider than those that `text` measures.
const BOLD: f64 = 1.09;
const NAME_WIDTH_PX: f64 = 190.0;
const LABEL_WIDTH_PX: f64 = 190.0;
const NODE_WIDTH_MIN_PX: f64 = 96.0;
const PADDING_PX: f64 = 10.0;
const MARGIN_PX: f64 = 24.0;
/// Radius of the marks of start and end.
const MARK_PX: f64 = 8.0;
/// Lines that one label may have; the tooltip has them all.
const LABEL_LINES_MAX: usize = 4;

const STYLE: &str = "\
text{font-family:Helvetica,Arial,'DejaVu Sans',sans-serif;fill:#1b2430}\
.name{font-size:13px;font-weight:600}.note{font-size:10.5px;fill:#5a6676}\
.title{font-size:18px;font-weight:600}\
.box{stroke:#8b98a8;stroke-width:1.2;fill:#fff}\
.task{fill:#eef4ff;stroke:#4a7bd0}.choice{fill:#fff7e0;stroke:#c99a1b}\
.succeed{fill:#e8f7ec;stroke:#2f9150}.fail{fill:#fdecec;stroke:#c43d3d}\
.wait{fill:#f4effc;stroke:#8460bd}.pass{fill:#f5f6f8;stroke:#8b98a8}\
.group{fill:#fafbfc;stroke:#7a8797;stroke-dasharray:none}.branch{fill:#fff;stroke:#c3ccd6;stroke-width:1}\
.mark{fill:#1b2430}.ring{fill:#fff;stroke:#1b2430;stroke-width:1.6}\
.line{fill:none;stroke:#55616f;stroke-width:1.4}\
.line.error{stroke:#c0504d;stroke-dasharray:5 3}\
.line.back{stroke:#2a6fdb}.line.back.error{stroke:#a23bb5}\
.label{font-size:10.5px;fill:#3b4654}.label.error{fill:#a8322f}.label.back{fill:#1f58b3}\
.paper{fill:#fff;fill-opacity:.92}";

/// A level with everything measured and placed.
struct Level<'a> {
    graph: &'a Graph,
    layout: Layout,
    bodies: Vec<Body<'a>>,
    /// The lines of text of each edge's label.
    labels: Vec<Vec<String>>,
}

/// What is inside a box.
struct Body<'a> {
    size: Size,
    names: Vec<String>,
    notes: Vec<String>,
    inner: Vec<Level<'a>>,
}

/// Draws a whole document.
pub fn document(title: &str, graph: &Graph) -> String {
    let level = measure(graph);
    let size = level.layout.size;
    let heading = if title.is_empty() {
        0.0
    } else {
        TITLE_PX * 2.0
    };
    let full = Size {
        width: size
            .width
            .max(width(title, TITLE_PX) * BOLD)
            .min(size.width.max(800.0))
            + 2.0 * MARGIN_PX,
        height: size.height + heading + 2.0 * MARGIN_PX,
    };
    let mut svg = String::new();
    // Writing to a `String` cannot fail.
    let _ = write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0:.0}\" height=\"{1:.0}\" viewBox=\"0 0 {0:.0} {1:.0}\">\n\
         <style>{STYLE}</style>\n<defs>",
        full.width.ceil(),
        full.height.ceil()
    );
    for (name, colour) in [
        ("flow", "#55616f"),
        ("error", "#c0504d"),
        ("back", "#2a6fdb"),
        ("back-error", "#a23bb5"),
    ] {
        let _ = write!(
            svg,
            "<marker id=\"{name}\" viewBox=\"0 0 10 10\" refX=\"9\" refY=\"5\" markerWidth=\"7\" markerHeight=\"7\" \
             orient=\"auto\"><path d=\"M0 0.8 10 5 0 9.2z\" fill=\"{colour}\"/></marker>"
        );
    }
    svg.push_str("</defs>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n");
    if !title.is_empty() {
        let shown = cut(title, TITLE_PX * BOLD, full.width - 2.0 * MARGIN_PX);
        let _ = writeln!(
            svg,
            "<text class=\"title\" x=\"{MARGIN_PX}\" y=\"{}\">{}</text>",
            MARGIN_PX + TITLE_PX,
            escape(&shown)
        );
    }
    let origin = Point {
        x: f64::midpoint(full.width, -size.width),
        y: MARGIN_PX + heading,
    };
    draw(&level, origin, &mut svg);
    svg.push_str("</svg>\n");
    svg
}

fn measure(graph: &Graph) -> Level<'_> {
    let bodies: Vec<Body<'_>> = graph
        .nodes
        .iter()
        .enumerate()
        .map(|(index, node)| body(node, &own_notes(graph, index, node)))
        .collect();
    let labels: Vec<Vec<String>> = graph.edges.iter().map(label_lines).collect();
    let sizes: Vec<Size> = bodies.iter().map(|it| it.size).collect();
    let lines: Vec<Line> = graph
        .edges
        .iter()
        .zip(&labels)
        .map(|(edge, label)| Line {
            from: edge.from,
            to: edge.to,
            kind: u8::from(edge.is_error),
            label: label_size(label),
        })
        .collect();
    Level {
        graph,
        layout: layout(&sizes, &lines),
        bodies,
        labels,
    }
}

/// The small print of a box, with the lines that lead from it to itself.
fn own_notes(graph: &Graph, index: usize, node: &Node) -> Vec<String> {
    let mut notes = node.notes.clone();
    let loops = graph
        .edges
        .iter()
        .filter(|it| it.from == index && it.to == index);
    for edge in loops {
        notes.push(format!("↺ {}", edge.labels.join(" or ")));
    }
    notes
}

fn body<'a>(node: &'a Node, notes: &[String]) -> Body<'a> {
    if let Shape::Start | Shape::End = node.shape {
        return Body {
            size: Size {
                width: 2.0 * MARK_PX,
                height: 2.0 * MARK_PX,
            },
            names: Vec::new(),
            notes: Vec::new(),
            inner: Vec::new(),
        };
    }
    let inner: Vec<Level<'_>> = node.inner.iter().map(measure).collect();
    let inside = inside(&inner);
    let room = NAME_WIDTH_PX.max(inside.width);
    let names = wrap(&node.name, NAME_PX * BOLD, room, 3);
    let notes: Vec<String> = notes
        .iter()
        .flat_map(|it| wrap(it, NOTE_PX, room, 2))
        .collect();
    let widest = names
        .iter()
        .map(|it| width(it, NAME_PX * BOLD))
        .chain(notes.iter().map(|it| width(it, NOTE_PX)))
        .fold(inside.width, f64::max);
    let height = text_height(&names, &notes) + 2.0 * PADDING_PX;
    let below = if inner.is_empty() {
        0.0
    } else {
        inside.height + PADDING_PX
    };
    Body {
        size: Size {
            width: (widest + 2.0 * PADDING_PX).max(NODE_WIDTH_MIN_PX),
            height: height + below,
        },
        names,
        notes,
        inner,
    }
}

#[expect(clippy::cast_precision_loss, reason = "a handful of lines")]
fn text_height(names: &[String], notes: &[String]) -> f64 {
    names.len() as f64 * NAME_PX * LEADING + notes.len() as f64 * NOTE_PX * LEADING
}

/// The room that the branches of a state take, side by side.
fn inside(inner: &[Level<'_>]) -> Size {
    let mut size = Size::default();
    for level in inner {
        if 0.0 < size.width {
            size.width += PADDING_PX;
        }
        size.width += level.layout.size.width + 2.0 * PADDING_PX;
        size.height = size.height.max(level.layout.size.height + 2.0 * PADDING_PX);
    }
    size
}

fn label_lines(edge: &Edge) -> Vec<String> {
    if edge.from == edge.to {
        return Vec::new();
    }
    let per_label = match edge.labels.len() {
        1 => 3,
        2 => 2,
        _ => 1,
    };
    let mut lines: Vec<String> = edge
        .labels
        .iter()
        .flat_map(|it| wrap(it, LABEL_PX, LABEL_WIDTH_PX, per_label))
        .collect();
    if LABEL_LINES_MAX < lines.len() {
        let more = lines.len() + 1 - LABEL_LINES_MAX;
        lines.truncate(LABEL_LINES_MAX - 1);
        lines.push(format!("… and {more} more"));
    }
    lines
}

#[expect(clippy::cast_precision_loss, reason = "a handful of lines")]
fn label_size(lines: &[String]) -> Option<Size> {
    if lines.is_empty() {
        return None;
    }
    let widest = lines
        .iter()
        .map(|it| width(it, LABEL_PX))
        .fold(0.0, f64::max);
    Some(Size {
        width: widest + 8.0,
        height: lines.len() as f64 * LABEL_PX * LEADING + 6.0,
    })
}

fn draw(level: &Level<'_>, origin: Point, svg: &mut String) {
    draw_lines(level, origin, svg);
    for ((node, body), place) in level
        .graph
        .nodes
        .iter()
        .zip(&level.bodies)
        .zip(&level.layout.boxes)
    {
        let corner = Point {
            x: origin.x + place.x,
            y: origin.y + place.y,
        };
        draw_box(node, body, corner, svg);
    }
    for (index, edge) in level.graph.edges.iter().enumerate() {
        if let Some(at) = level.layout.labels[index] {
            let at = Point {
                x: origin.x + at.x,
                y: origin.y + at.y,
            };
            let class = line_class(edge.is_error, level.layout.is_back[index]);
            draw_label(level, index, class, at, svg);
        }
    }
}

/// The class of a line, and the name of its arrow head.
fn line_class(is_error: bool, is_back: bool) -> (&'static str, &'static str) {
    match (is_error, is_back) {
        (false, false) => ("", "flow"),
        (true, false) => (" error", "error"),
        (false, true) => (" back", "back"),
        (true, true) => (" back error", "back-error"),
    }
}

fn draw_lines(level: &Level<'_>, origin: Point, svg: &mut String) {
    for segment in &level.layout.segments {
        let Some(first) = segment.lines.first() else {
            continue;
        };
        let (class, arrow) = line_class(
            level.graph.edges[*first].is_error,
            level.layout.is_back[*first],
        );
        let points = segment.points.map(|it| Point {
            x: origin.x + it.x,
            y: origin.y + it.y,
        });
        let [start, bend, turn, end] = points;
        let middle = f64::midpoint(bend.y, turn.y);
        let marker = if segment.has_arrow {
            format!(" marker-end=\"url(#{arrow})\"")
        } else {
            String::new()
        };
        let _ = write!(
            svg,
            "<path class=\"line{class}\" d=\"M{:.1} {:.1}L{:.1} {:.1}C{:.1} {middle:.1} {:.1} {middle:.1} {:.1} {:.1}L{:.1} {:.1}\"{marker}>",
            start.x, start.y, bend.x, bend.y, bend.x, turn.x, turn.x, turn.y, end.x, end.y
        );
        let told: Vec<String> = segment
            .lines
            .iter()
            .map(|it| edge_tooltip(level.graph, &level.graph.edges[*it]))
            .collect();
        let _ = writeln!(svg, "<title>{}</title></path>", escape(&told.join("\n")));
    }
}

/// Where an arrow leads from and to, with all its conditions.
fn edge_tooltip(graph: &Graph, edge: &Edge) -> String {
    let name = |index: usize| match graph.nodes[index].shape {
        Shape::Start => "start",
        Shape::End => "end",
        Shape::State(_) => graph.nodes[index].name.as_str(),
    };
    let mut told = format!("{} → {}", name(edge.from), name(edge.to));
    for label in &edge.labels {
        let _ = write!(told, "\n{label}");
    }
    told
}

fn draw_box(node: &Node, body: &Body<'_>, corner: Point, svg: &mut String) {
    let Size { width, height } = body.size;
    let (x, y) = (corner.x, corner.y);
    let _ = write!(svg, "<g><title>{}</title>", escape(&node.tooltip));
    let (class, radius) = match node.shape {
        Shape::Start | Shape::End => {
            let (cx, cy) = (x + MARK_PX, y + MARK_PX);
            if node.shape == Shape::End {
                let _ = write!(
                    svg,
                    "<circle class=\"ring\" cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"{MARK_PX}\"/>"
                );
            }
            let r = if node.shape == Shape::End {
                MARK_PX - 3.5
            } else {
                MARK_PX
            };
            let _ = writeln!(
                svg,
                "<circle class=\"mark\" cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"{r}\"/></g>"
            );
            return;
        }
        Shape::State(kind) => box_class(kind),
    };
    let _ = write!(
        svg,
        "<rect class=\"box {class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"{radius}\"/>"
    );
    let middle = x + width / 2.0;
    let mut baseline = y + PADDING_PX;
    for (class, size_px, lines) in [
        ("name", NAME_PX, &body.names),
        ("note", NOTE_PX, &body.notes),
    ] {
        for line in lines {
            baseline += size_px * LEADING;
            let _ = write!(
                svg,
                "<text class=\"{class}\" x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                baseline - size_px * 0.3,
                escape(line)
            );
        }
    }
    svg.push_str("</g>\n");
    draw_branches(body, corner, svg);
}

/// The branches of a state, side by side below its text.
fn draw_branches(body: &Body<'_>, corner: Point, svg: &mut String) {
    let room = inside(&body.inner);
    let mut x = corner.x + (body.size.width - room.width) / 2.0;
    let y = corner.y + text_height(&body.names, &body.notes) + 2.0 * PADDING_PX;
    for level in &body.inner {
        let Size { width, height } = level.layout.size;
        let frame = width + 2.0 * PADDING_PX;
        let _ = writeln!(
            svg,
            "<rect class=\"branch\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{frame:.1}\" height=\"{:.1}\" rx=\"6\"/>",
            room.height
        );
        let origin = Point {
            x: x + PADDING_PX,
            y: y + (room.height - height) / 2.0,
        };
        draw(level, origin, svg);
        x += frame + PADDING_PX;
    }
}

/// The class of a box and the radius of its corners.
fn box_class(kind: StateType) -> (&'static str, u8) {
    match kind {
        StateType::Task => ("task", 6),
        StateType::Choice => ("choice", 16),
        StateType::Pass => ("pass", 6),
        StateType::Wait => ("wait", 6),
        StateType::Succeed => ("succeed", 16),
        StateType::Fail => ("fail", 16),
        StateType::Parallel | StateType::Map => ("group", 8),
    }
}

fn draw_label(
    level: &Level<'_>,
    index: usize,
    (class, _): (&str, &str),
    at: Point,
    svg: &mut String,
) {
    let lines = &level.labels[index];
    let Some(size) = label_size(lines) else {
        return;
    };
    let (x, y) = (at.x - size.width / 2.0, at.y - size.height / 2.0);
    let _ = write!(
        svg,
        "<g><title>{}</title><rect class=\"paper\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"3\"/>",
        escape(&edge_tooltip(level.graph, &level.graph.edges[index])),
        size.width,
        size.height
    );
    let mut baseline = y + 3.0;
    for line in lines {
        baseline += LABEL_PX * LEADING;
        let _ = write!(
            svg,
            "<text class=\"label{class}\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            at.x,
            baseline - LABEL_PX * 0.35,
            escape(line)
        );
    }
    svg.push_str("</g>\n");
}
