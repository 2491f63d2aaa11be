//! Orders the vertices of each layer so that few lines cross.

/// Passes over all layers; the best order seen is kept, so that more passes never make it worse.
const SWEEPS: usize = 24;

/// Above so many vertices, neighbours are not swapped one by one any more.
const SWAPPED_MAX: usize = 1_500;

/// Orders vertices: `layers[v]` is the layer of vertex `v`, each pair is a line from a layer to a lower one.
pub fn order(layer_of: &[usize], pairs: &[(usize, usize)]) -> Vec<Vec<usize>> {
    let n_layers = layer_of.iter().max().map_or(0, |it| it + 1);
    let mut below: Vec<Vec<usize>> = vec![Vec::new(); layer_of.len()];
    let mut above: Vec<Vec<usize>> = vec![Vec::new(); layer_of.len()];
    // Lines over several layers, which exist only beyond the limit of the layout, are not ordered by.
    for (upper, lower) in pairs
        .iter()
        .filter(|(upper, lower)| layer_of[*upper] + 1 == layer_of[*lower])
    {
        below[*upper].push(*lower);
        above[*lower].push(*upper);
    }
    let mut layers: Vec<Vec<usize>> = vec![Vec::new(); n_layers];
    for vertex in first_order(layer_of, &below) {
        layers[layer_of[vertex]].push(vertex);
    }
    let mut best = layers.clone();
    let mut best_count = crossings(&layers, &below);
    for sweep in 0..SWEEPS {
        if best_count == 0 {
            break;
        }
        let is_down = sweep % 2 == 0;
        let near = if is_down { &above } else { &below };
        let mut positions = positions(&layers, layer_of.len());
        let mut numbers: Vec<usize> = (0..n_layers).collect();
        if !is_down {
            numbers.reverse();
        }
        for number in numbers {
            arrange(&mut layers[number], near, &mut positions);
        }
        if layer_of.len() <= SWAPPED_MAX {
            swap_neighbours(&mut layers, &above, &below);
        }
        let count = crossings(&layers, &below);
        if count < best_count {
            best_count = count;
            best.clone_from(&layers);
        }
    }
    best
}

/// The order in which a walk down from the first vertex meets them.
fn first_order(layer_of: &[usize], below: &[Vec<usize>]) -> Vec<usize> {
    let mut found = Vec::with_capacity(layer_of.len());
    let mut is_met = vec![false; layer_of.len()];
    for root in 0..layer_of.len() {
        let mut stack = vec![root];
        while let Some(vertex) = stack.pop() {
            if std::mem::replace(&mut is_met[vertex], true) {
                continue;
            }
            found.push(vertex);
            stack.extend(below[vertex].iter().rev());
        }
    }
    found
}

fn positions(layers: &[Vec<usize>], n_vertices: usize) -> Vec<f64> {
    let mut positions = vec![0.0; n_vertices];
    for layer in layers {
        number(layer, &mut positions);
    }
    positions
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a layer has a few thousand vertices"
)]
fn number(layer: &[usize], positions: &mut [f64]) {
    for (index, vertex) in layer.iter().enumerate() {
        // Relative to the middle, because layers differ in length.
        positions[*vertex] = index as f64 - layer.len() as f64 / 2.0;
    }
}

/// Sorts a layer by the mean position of each vertex's neighbours; one without neighbours stays.
fn arrange(layer: &mut [usize], near: &[Vec<usize>], positions: &mut [f64]) {
    #[expect(clippy::cast_precision_loss, reason = "a handful of neighbours")]
    let mut keyed: Vec<(f64, usize)> = layer
        .iter()
        .map(|vertex| {
            let near = &near[*vertex];
            let sum: f64 = near.iter().map(|it| positions[*it]).sum();
            let key = if near.is_empty() {
                positions[*vertex]
            } else {
                sum / near.len() as f64
            };
            (key, *vertex)
        })
        .collect();
    keyed.sort_by(|left, right| left.0.total_cmp(&right.0));
    for (place, (_, vertex)) in layer.iter_mut().zip(keyed) {
        *place = vertex;
    }
    number(layer, positions);
}

/// Swaps neighbours in a layer wherever that saves crossings.
fn swap_neighbours(layers: &mut [Vec<usize>], above: &[Vec<usize>], below: &[Vec<usize>]) {
    let mut positions = positions(layers, above.len());
    for layer in layers {
        for index in 1..layer.len() {
            let (left, right) = (layer[index - 1], layer[index]);
            let saved: i64 = [above, below]
                .iter()
                .map(|near| {
                    crossed(&near[left], &near[right], &positions)
                        - crossed(&near[right], &near[left], &positions)
                })
                .sum();
            if 0 < saved {
                layer.swap(index - 1, index);
            }
        }
        number(layer, &mut positions);
    }
}

/// How many lines of two vertices side by side cross.
fn crossed(left: &[usize], right: &[usize], positions: &[f64]) -> i64 {
    let mut n = 0;
    for left in left {
        for right in right {
            n += i64::from(positions[*right] < positions[*left]);
        }
    }
    n
}

/// Counts all crossings.
fn crossings(layers: &[Vec<usize>], below: &[Vec<usize>]) -> u64 {
    let mut index_of = vec![0; below.len()];
    for layer in layers {
        for (index, vertex) in layer.iter().enumerate() {
            index_of[*vertex] = index;
        }
    }
    let mut n = 0;
    for layer in layers {
        let mut ends: Vec<usize> = Vec::new();
        for vertex in layer {
            let mut near: Vec<usize> = below[*vertex].iter().map(|it| index_of[*it]).collect();
            near.sort_unstable();
            ends.extend(near);
        }
        n += inversions(&ends);
    }
    n
}

/// Counts the pairs that stand in the wrong order, with a tree of counts.
fn inversions(values: &[usize]) -> u64 {
    let size = values.iter().max().map_or(0, |it| it + 1);
    let mut tree = vec![0_u64; size + 1];
    let mut n = 0;
    for (seen, value) in (0_u64..).zip(values) {
        let mut not_greater = 0;
        let mut index = value + 1;
        while 0 < index {
            not_greater += tree[index];
            index &= index - 1;
        }
        n += seen - not_greater;
        index = value + 1;
        while index <= size {
            tree[index] += 1;
            index += index & index.wrapping_neg();
        }
    }
    n
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inversions_are_counted() {
        assert_eq!(inversions(&[0, 1, 2]), 0);
        assert_eq!(inversions(&[2, 1, 0]), 3);
        assert_eq!(inversions(&[1, 1, 0, 2]), 2);
    }

    #[test]
    fn two_crossed_lines_are_uncrossed() {
        let layers = order(&[0, 0, 1, 1], &[(0, 3), (1, 2)]);
        let place = |it: usize| {
            layers
                .iter()
                .find_map(|layer| layer.iter().position(|v| *v == it))
        };
        assert_eq!(place(0).cmp(&place(1)), place(3).cmp(&place(2)));
    }
}
