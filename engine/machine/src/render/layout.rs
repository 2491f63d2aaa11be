//! Places the boxes of one level in layers and leads the lines between them.
//!
//! Source: the framework of Sugiyama, Tagawa and Toda (1981): break cycles, rank, order, place. States
//! take the even layers; a label is a vertex of the odd layer below its state, so that it never lies
//! on anything. Long lines to one state share one trunk, which keeps pictures with many catchers calm.

use std::collections::{BTreeMap, BTreeSet};

use super::order;

/// Space between two vertices of a layer, in pixels.
const GAP_PX: f64 = 26.0;

/// Width that a line without a box takes in its layer, in pixels.
const LINE_PX: f64 = 6.0;

/// Space between two layers, in pixels, where no line has far to go.
const LAYER_GAP_PX: f64 = 18.0;

/// The straight end of a line that its arrow head lies on, in pixels.
const ARROW_PX: f64 = 9.0;

/// The most that is added to it where lines go far to the side, in pixels.
const LAYER_GAP_EXTRA_PX: f64 = 44.0;

/// Vertices of lines that may be laid out; beyond them lines go straight, whatever they cross.
///
/// Thirty states have a few hundred; a hostile definition could have a million.
const VERTICES_MAX: usize = 6_000;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Size {
    pub width: f64,
    pub height: f64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    pub x: f64,
    pub y: f64,
}

/// A line to be led.
#[derive(Debug)]
pub struct Line {
    pub from: usize,
    pub to: usize,
    /// Lines of one kind to one box may share their way.
    pub kind: u8,
    pub label: Option<Size>,
}

/// Where everything is.
#[derive(Debug)]
pub struct Layout {
    pub size: Size,
    /// The upper left corner of each box.
    pub boxes: Vec<Point>,
    /// The centre of each line's label.
    pub labels: Vec<Option<Point>>,
    /// Lines against the direction of reading.
    pub is_back: Vec<bool>,
    pub segments: Vec<Segment>,
}

/// A piece of a line, drawn once for all that share it.
#[derive(Debug)]
pub struct Segment {
    /// The lines that lead here.
    pub lines: Vec<usize>,
    /// Straight down to the first bend, over to the second, straight on: in the direction of the arrow.
    pub points: [Point; 4],
    pub has_arrow: bool,
}

/// What lies in a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Vertex {
    Box(usize),
    /// The label of a line.
    Label(usize),
    /// A trunk on its way to a box: the box, the kind, the layer, whether it goes up.
    Trunk(usize, u8, usize, bool),
}

/// Places `boxes` and leads `lines`; the first box is the start. A line from a box to itself is left out.
pub fn layout(boxes: &[Size], lines: &[Line]) -> Layout {
    let is_back = back_lines(boxes.len(), lines);
    let ranks = ranks(boxes.len(), lines, &is_back);
    let routes = routes(lines, &is_back, &ranks);
    let mut numbers: BTreeMap<Vertex, usize> = BTreeMap::new();
    let mut vertices: Vec<(Vertex, usize)> = Vec::new();
    let mut number = |vertex: Vertex, layer: usize| {
        *numbers.entry(vertex).or_insert_with(|| {
            vertices.push((vertex, layer));
            vertices.len() - 1
        })
    };
    for (index, rank) in ranks.iter().enumerate() {
        number(Vertex::Box(index), *rank);
    }
    // Each piece, upper end first, with the lines that share it.
    let mut pieces: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
    for (index, route) in routes.iter().enumerate() {
        let steps: Vec<usize> = route
            .iter()
            .map(|(it, layer)| number(*it, *layer))
            .collect();
        for pair in steps.windows(2) {
            pieces.entry((pair[0], pair[1])).or_default().push(index);
        }
    }
    let sizes: Vec<Size> = vertices
        .iter()
        .map(|(vertex, _)| match vertex {
            Vertex::Box(index) => boxes[*index],
            Vertex::Label(index) => lines[*index].label.unwrap_or_default(),
            Vertex::Trunk(..) => Size {
                width: LINE_PX,
                height: 0.0,
            },
        })
        .collect();
    let vertex_layers: Vec<usize> = vertices.iter().map(|(_, layer)| *layer).collect();
    let pairs: Vec<(usize, usize)> = pieces.keys().copied().collect();
    let layers = order::order(&vertex_layers, &pairs);
    let weights: Vec<f64> = pieces
        .values()
        .map(|shared| weight(lines, &is_back, shared))
        .collect();
    let xs = Placing::new(&vertices, &pairs, &weights, &sizes).place(&layers);
    let placed = Placed::new(&layers, &pairs, &vertices, &sizes, xs);
    finish(boxes, lines, is_back, &placed, &pieces)
}

/// The lines that close a cycle, seen from the start.
fn back_lines(n_boxes: usize, lines: &[Line]) -> Vec<bool> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done,
    }
    let mut leaving: Vec<Vec<usize>> = vec![Vec::new(); n_boxes];
    for (index, line) in lines.iter().enumerate() {
        leaving[line.from].push(index);
    }
    let mut marks = vec![Mark::New; n_boxes];
    let mut is_back = vec![false; lines.len()];
    for root in 0..n_boxes {
        if marks[root] != Mark::New {
            continue;
        }
        marks[root] = Mark::Open;
        let mut stack = vec![(root, 0)];
        while let Some((node, next)) = stack.last_mut() {
            let Some(line) = leaving[*node].get(*next).copied() else {
                marks[*node] = Mark::Done;
                stack.pop();
                continue;
            };
            *next += 1;
            let to = lines[line].to;
            match marks[to] {
                Mark::Open => is_back[line] = true,
                Mark::New => {
                    marks[to] = Mark::Open;
                    stack.push((to, 0));
                }
                Mark::Done => {}
            }
        }
    }
    is_back
}

/// The layer of each box: even, and below everything that leads to it.
fn ranks(n_boxes: usize, lines: &[Line], is_back: &[bool]) -> Vec<usize> {
    let forward: Vec<&Line> = lines
        .iter()
        .zip(is_back)
        .filter(|(it, is_back)| !**is_back && it.from != it.to)
        .map(|(it, _)| it)
        .collect();
    let mut leaving: Vec<Vec<usize>> = vec![Vec::new(); n_boxes];
    let mut n_entering = vec![0_usize; n_boxes];
    for line in forward {
        leaving[line.from].push(line.to);
        n_entering[line.to] += 1;
    }
    let mut ranks = vec![0; n_boxes];
    let mut ready: Vec<usize> = (0..n_boxes).filter(|it| n_entering[*it] == 0).collect();
    while let Some(node) = ready.pop() {
        for to in &leaving[node] {
            ranks[*to] = ranks[*to].max(ranks[node] + 2);
            n_entering[*to] -= 1;
            if n_entering[*to] == 0 {
                ready.push(*to);
            }
        }
    }
    ranks
}

/// The vertices that each line goes through, from top to bottom.
fn routes(lines: &[Line], is_back: &[bool], ranks: &[usize]) -> Vec<Vec<(Vertex, usize)>> {
    let mut trunks: BTreeSet<Vertex> = BTreeSet::new();
    let mut routes = Vec::with_capacity(lines.len());
    for (index, line) in lines.iter().enumerate() {
        let is_back = is_back[index];
        let (upper, lower) = if is_back {
            (line.to, line.from)
        } else {
            (line.from, line.to)
        };
        if upper == lower {
            routes.push(Vec::new());
            continue;
        }
        // The label stands next to the state that the line leaves.
        let label_at = if is_back {
            ranks[lower] - 1
        } else {
            ranks[upper] + 1
        };
        let mut route = vec![(Vertex::Box(upper), ranks[upper])];
        for layer in ranks[upper] + 1..ranks[lower] {
            if layer == label_at && line.label.is_some() {
                route.push((Vertex::Label(index), layer));
            } else if trunks.len() < VERTICES_MAX {
                let trunk = Vertex::Trunk(line.to, line.kind, layer, is_back);
                trunks.insert(trunk);
                route.push((trunk, layer));
            }
        }
        route.push((Vertex::Box(lower), ranks[lower]));
        routes.push(route);
    }
    routes
}

/// How much a piece pulls at its ends: what usually happens stands upright, errors give way.
fn weight(lines: &[Line], is_back: &[bool], shared: &[usize]) -> f64 {
    let pulls = shared.iter().map(|it| match &lines[*it] {
        _ if is_back[*it] => 0.1,
        Line { kind: 0, label, .. } if label.is_none() => 4.0,
        Line { kind: 0, .. } => 1.0,
        _ => 0.1,
    });
    pulls.fold(0.0, f64::max)
}

/// The search for the centre of every vertex.
struct Placing<'a> {
    sizes: &'a [Size],
    /// The neighbours of each vertex in the layers above and below, and how much they pull.
    near: Vec<Vec<(usize, f64)>>,
    /// The trunk that a vertex belongs to.
    trunk_of: Vec<Option<usize>>,
    trunks: Vec<Vec<usize>>,
    xs: Vec<f64>,
}

impl<'a> Placing<'a> {
    /// Passes over all layers. Each is cheap; after these nothing moves visibly any more.
    const SWEEPS: usize = 80;

    /// From here on trunks move as a whole out of the way of what bends them.
    const STRAIGHTENING_FROM: usize = 60;

    /// From here on trunks stay, and the rest settles between them.
    const SETTLING_FROM: usize = 66;

    /// How much a trunk pulls its own vertices into one upright line.
    const TRUNK_WEIGHT: f64 = 30.0;

    fn new(
        vertices: &[(Vertex, usize)],
        pairs: &[(usize, usize)],
        weights: &[f64],
        sizes: &'a [Size],
    ) -> Self {
        let mut near = vec![Vec::new(); sizes.len()];
        for ((upper, lower), weight) in pairs.iter().zip(weights) {
            near[*upper].push((*lower, *weight));
            near[*lower].push((*upper, *weight));
        }
        let mut numbers: BTreeMap<(usize, u8, bool), usize> = BTreeMap::new();
        let mut trunks: Vec<Vec<usize>> = Vec::new();
        let mut trunk_of = vec![None; sizes.len()];
        for (index, (vertex, _)) in vertices.iter().enumerate() {
            if let Vertex::Trunk(to, kind, _, is_back) = vertex {
                let number = *numbers.entry((*to, *kind, *is_back)).or_insert_with(|| {
                    trunks.push(Vec::new());
                    trunks.len() - 1
                });
                trunks[number].push(index);
                trunk_of[index] = Some(number);
            }
        }
        Self {
            sizes,
            near,
            trunk_of,
            trunks,
            xs: vec![0.0; sizes.len()],
        }
    }

    /// Finds a centre for every vertex: as straight above its neighbours as the order allows.
    fn place(mut self, layers: &[Vec<usize>]) -> Vec<f64> {
        for layer in layers {
            let wishes: Vec<(f64, f64)> = layer.iter().map(|_| (0.0, 1.0)).collect();
            separate(layer, &wishes, self.sizes, &mut self.xs);
        }
        let mut means = Vec::new();
        for sweep in 0..Self::SWEEPS {
            if sweep < Self::STRAIGHTENING_FROM {
                means = self.trunks.iter().map(|it| self.mean(it)).collect();
            } else if sweep < Self::SETTLING_FROM {
                means = self.trunks.iter().map(|it| self.extreme(it)).collect();
            }
            for step in 0..layers.len() {
                let is_down = sweep % 2 == 0;
                let number = if is_down {
                    step
                } else {
                    layers.len() - 1 - step
                };
                let layer = &layers[number];
                let wishes: Vec<(f64, f64)> =
                    layer.iter().map(|it| self.wish(*it, &means)).collect();
                separate(layer, &wishes, self.sizes, &mut self.xs);
            }
        }
        self.xs
    }

    /// Where a vertex would like to be, and how much.
    fn wish(&self, vertex: usize, means: &[f64]) -> (f64, f64) {
        if let Some(trunk) = self.trunk_of[vertex] {
            return (means[trunk], Self::TRUNK_WEIGHT);
        }
        let mut sum = (0.0, 0.0);
        for (neighbour, weight) in &self.near[vertex] {
            sum = (sum.0 + self.xs[*neighbour] * weight, sum.1 + weight);
        }
        if sum.1 == 0.0 {
            (self.xs[vertex], 0.1)
        } else {
            (sum.0 / sum.1, sum.1)
        }
    }

    /// Where a trunk has been pushed farthest from its mean.
    fn extreme(&self, trunk: &[usize]) -> f64 {
        let mean = self.mean(trunk);
        let off = |it: &&usize| (self.xs[**it] - mean).abs();
        let farthest = trunk.iter().max_by(|a, b| off(a).total_cmp(&off(b)));
        farthest.map_or(mean, |it| self.xs[*it])
    }

    /// The line that suits a trunk and those who join it best.
    fn mean(&self, trunk: &[usize]) -> f64 {
        let mut sum = (0.0, 0.0);
        for vertex in trunk {
            sum = (sum.0 + self.xs[*vertex], sum.1 + 1.0);
            for (neighbour, weight) in &self.near[*vertex] {
                if self.trunk_of[*neighbour].is_none() {
                    sum = (sum.0 + self.xs[*neighbour] * weight, sum.1 + weight);
                }
            }
        }
        sum.0 / sum.1
    }
}

/// Gives each vertex of a layer the place it wishes for, as nearly as the space between them allows.
///
/// Source: least squares under an order is isotonic regression; pool adjacent violators solves it.
fn separate(layer: &[usize], wishes: &[(f64, f64)], sizes: &[Size], xs: &mut [f64]) {
    let mut offsets = Vec::with_capacity(layer.len());
    let mut offset = 0.0;
    for (index, vertex) in layer.iter().enumerate() {
        if 0 < index {
            let half = f64::midpoint(sizes[layer[index - 1]].width, sizes[*vertex].width);
            offset += half + GAP_PX;
        }
        offsets.push(offset);
    }
    // Blocks of vertices that touch: mean wish, weight, number of vertices.
    let mut blocks: Vec<(f64, f64, usize)> = Vec::new();
    for ((wish, weight), offset) in wishes.iter().zip(&offsets) {
        let mut block = (wish - offset, *weight, 1);
        while let Some((mean, weight, n)) = blocks.last().copied() {
            if mean <= block.0 {
                break;
            }
            let total = weight + block.1;
            block = (
                (mean * weight + block.0 * block.1) / total,
                total,
                n + block.2,
            );
            blocks.pop();
        }
        blocks.push(block);
    }
    let means = blocks
        .iter()
        .flat_map(|(mean, _, n)| std::iter::repeat_n(*mean, *n));
    for ((vertex, mean), offset) in layer.iter().zip(means).zip(&offsets) {
        xs[*vertex] = mean + offset;
    }
}

/// Vertices with their places.
struct Placed<'a> {
    vertices: &'a [(Vertex, usize)],
    sizes: &'a [Size],
    xs: Vec<f64>,
    /// Upper and lower edge of each layer.
    bands: Vec<(f64, f64)>,
    width: f64,
}

impl<'a> Placed<'a> {
    fn new(
        layers: &[Vec<usize>],
        pairs: &[(usize, usize)],
        vertices: &'a [(Vertex, usize)],
        sizes: &'a [Size],
        mut xs: Vec<f64>,
    ) -> Self {
        let left = (0..xs.len())
            .map(|it| xs[it] - sizes[it].width / 2.0)
            .fold(f64::INFINITY, f64::min);
        let left = if left.is_finite() { left } else { 0.0 };
        for x in &mut xs {
            *x -= left;
        }
        let width = (0..xs.len())
            .map(|it| xs[it] + sizes[it].width / 2.0)
            .fold(0.0, f64::max);
        // The wider a line swings below a layer, the more room it gets.
        let mut swings = vec![0.0_f64; layers.len()];
        for (upper, lower) in pairs {
            let swing = (xs[*upper] - xs[*lower]).abs();
            let layer = vertices[*upper].1;
            swings[layer] = swings[layer].max(swing);
        }
        let mut bands = Vec::with_capacity(layers.len());
        let mut y = 0.0;
        for (layer, swing) in layers.iter().zip(&swings) {
            let height = layer.iter().map(|it| sizes[*it].height).fold(0.0, f64::max);
            bands.push((y, y + height));
            y += height + LAYER_GAP_PX + (swing / 10.0).min(LAYER_GAP_EXTRA_PX);
        }
        Self {
            vertices,
            sizes,
            xs,
            bands,
            width,
        }
    }

    /// Upper and lower edge of a vertex; a line takes its whole layer.
    fn span(&self, vertex: usize) -> (f64, f64) {
        let (kind, layer) = self.vertices[vertex];
        let (top, bottom) = self.bands[layer];
        match kind {
            Vertex::Box(_) => {
                let middle = f64::midpoint(top, bottom);
                let half = self.sizes[vertex].height / 2.0;
                (middle - half, middle + half)
            }
            _ => (top, bottom),
        }
    }
}

fn finish(
    boxes: &[Size],
    lines: &[Line],
    is_back: Vec<bool>,
    placed: &Placed<'_>,
    pieces: &BTreeMap<(usize, usize), Vec<usize>>,
) -> Layout {
    let mut layout = Layout {
        size: Size {
            width: placed.width,
            height: placed.bands.last().map_or(0.0, |it| it.1),
        },
        boxes: vec![Point::default(); boxes.len()],
        labels: vec![None; lines.len()],
        is_back,
        segments: Vec::with_capacity(pieces.len()),
    };
    for (index, (vertex, layer)) in placed.vertices.iter().enumerate() {
        let x = placed.xs[index];
        match vertex {
            Vertex::Box(number) => {
                layout.boxes[*number] = Point {
                    x: x - boxes[*number].width / 2.0,
                    y: placed.span(index).0,
                };
            }
            Vertex::Label(number) => {
                let (top, bottom) = placed.bands[*layer];
                let y = f64::midpoint(top, bottom);
                layout.labels[*number] = Some(Point { x, y });
            }
            Vertex::Trunk(..) => {}
        }
    }
    let ports = ports(placed, pieces);
    for ((upper, lower), shared) in pieces {
        let is_up = shared.iter().any(|it| layout.is_back[*it]);
        let (upper_layer, lower_layer) = (placed.vertices[*upper].1, placed.vertices[*lower].1);
        let (x0, x1) = ports[&(*upper, *lower)];
        let mut points = [
            (x0, placed.span(*upper).1),
            (x0, placed.bands[upper_layer].1),
            (x1, placed.bands[lower_layer].0),
            (x1, placed.span(*lower).0),
        ]
        .map(|(x, y)| Point { x, y });
        let arrives_at = if is_up { *upper } else { *lower };
        let has_arrow = matches!(placed.vertices[arrives_at].0, Vertex::Box(_));
        if has_arrow && is_up {
            points[1].y += ARROW_PX;
        } else if has_arrow {
            points[2].y -= ARROW_PX;
        }
        // A vertex of a line is drawn with the piece above it.
        if !matches!(placed.vertices[*lower].0, Vertex::Box(_)) {
            points[3].y = placed.span(*lower).1;
        }
        if is_up {
            points.reverse();
        }
        layout.segments.push(Segment {
            lines: shared.clone(),
            points,
            has_arrow,
        });
    }
    layout
}

/// Where each piece leaves its upper vertex and enters its lower one: side by side along a box.
fn ports(
    placed: &Placed<'_>,
    pieces: &BTreeMap<(usize, usize), Vec<usize>>,
) -> BTreeMap<(usize, usize), (f64, f64)> {
    /// Space between two lines at a box, in pixels, where the box is wide enough.
    const PORT_PX: f64 = 22.0;
    /// Space at the corners of a box where no line begins, in pixels.
    const CORNER_PX: f64 = 16.0;
    let mut ports: BTreeMap<(usize, usize), (f64, f64)> = pieces
        .keys()
        .map(|(upper, lower)| ((*upper, *lower), (placed.xs[*upper], placed.xs[*lower])))
        .collect();
    for (vertex, (kind, _)) in placed.vertices.iter().enumerate() {
        if !matches!(kind, Vertex::Box(_)) {
            continue;
        }
        for is_leaving in [true, false] {
            let mut near: Vec<(usize, usize)> = pieces
                .keys()
                .filter(|(upper, lower)| vertex == if is_leaving { *upper } else { *lower })
                .copied()
                .collect();
            let other = |(upper, lower): &(usize, usize)| {
                placed.xs[if is_leaving { *lower } else { *upper }]
            };
            near.sort_by(|left, right| other(left).total_cmp(&other(right)));
            let half = placed.sizes[vertex].width / 2.0;
            let x = placed.xs[vertex];
            #[expect(clippy::cast_precision_loss, reason = "a handful of lines")]
            let step = PORT_PX.min((2.0 * half - CORNER_PX) / near.len().max(1) as f64);
            let sizes = vec![
                Size {
                    width: step - GAP_PX,
                    height: 0.0
                };
                near.len()
            ];
            let (left, right) = (x - half + CORNER_PX, x + half - CORNER_PX);
            let wishes: Vec<(f64, f64)> = near
                .iter()
                .map(|it| (other(it).max(left.min(x)).min(right.max(x)), 1.0))
                .collect();
            let order: Vec<usize> = (0..near.len()).collect();
            let mut found = vec![0.0; near.len()];
            separate(&order, &wishes, &sizes, &mut found);
            // All together back onto the box.
            let (first, last) = (
                found.first().copied().unwrap_or(x),
                found.last().copied().unwrap_or(x),
            );
            let shift = (left.min(x) - first).max(0.0) - (last - right.max(x)).max(0.0);
            for (piece, x) in near.into_iter().zip(found) {
                if let Some(port) = ports.get_mut(&piece) {
                    *(if is_leaving { &mut port.0 } else { &mut port.1 }) = x + shift;
                }
            }
        }
    }
    ports
}
