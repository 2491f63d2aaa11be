//! A definition as a picture: its graph in layers, as SVG.
//!
//! `graph` reads the definition, `layout` places boxes and lines, `svg` draws them.

mod graph;
mod layout;
mod order;
mod svg;
mod text;

use crate::definition::Definition;

/// Draws the graph of a definition as one SVG document.
#[must_use]
pub fn render(definition: &Definition) -> String {
    let graph = graph::read(&definition.machine);
    svg::document(definition.title(), &graph)
}

#[cfg(test)]
mod tests;
