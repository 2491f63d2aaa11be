use serde_json::{Map, Value, json};

use super::*;
use crate::render::layout::{Line, Size, layout};

fn draw(states: Value, start: &str) -> String {
    let document = json!({"name": "sample", "title": "A <sample>", "decisions": {"Approved": {}, "Rejected": {}, "Referred": {}}, "definition": {"StartAt": start, "States": states}});
    let definition =
        Definition::parse(&document).unwrap_or_else(|findings| panic!("{findings:#?}"));
    render(&definition)
}

/// Thirty states: ten tasks, each with a choice that goes on, back, or out, and an error that goes out.
fn thirty() -> Value {
    let mut states = Map::new();
    for step in 0..10 {
        let task = json!({"Type": "Task", "Resource": "kyc:form", "TimeoutSeconds": 60,
            "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Referred"}], "Assign": {"result": "{% $states.result %}"},
            "Next": format!("Judged{step}")});
        let after = if step == 9 {
            "Approved".to_owned()
        } else {
            format!("Noted{step}")
        };
        let judged = json!({"Type": "Choice", "Default": "Rejected", "Choices": [
            {"Condition": "{% $result.outcome = 'submitted' %}", "Next": after},
            {"Condition": "{% $result.outcome = 'expired' and $result.output.round <= 3 %}", "Next": format!("Step{step}")},
        ]});
        states.insert(format!("Step{step}"), task);
        states.insert(format!("Judged{step}"), judged);
        if step < 9 {
            states.insert(
                format!("Noted{step}"),
                json!({"Type": "Pass", "Next": format!("Step{}", step + 1)}),
            );
        }
    }
    for end in ["Approved", "Rejected", "Referred"] {
        states.insert(
            end.to_owned(),
            json!({"Type": "Succeed", "Output": {"decision": end}}),
        );
    }
    Value::Object(states)
}

#[test]
fn every_state_and_condition_is_in_the_picture() {
    let svg = draw(thirty(), "Step0");
    for step in 0..10 {
        assert!(svg.contains(&format!(">Step{step}<")), "Step{step}");
        assert!(svg.contains(&format!(">Judged{step}<")), "Judged{step}");
    }
    assert!(svg.contains("$result.outcome = 'expired' and $result.output.round &lt;= 3"));
    assert!(svg.contains("any error"));
    assert!(svg.contains(">A &lt;sample&gt;<"));
}

#[test]
fn the_same_definition_gives_the_same_picture() {
    assert_eq!(draw(thirty(), "Step0"), draw(thirty(), "Step0"));
}

#[test]
fn branches_are_boxes_within_the_box_of_their_state() {
    let svg = draw(
        json!({
            "Both": {"Type": "Parallel", "End": true, "Branches": [
                {"StartAt": "Left", "States": {"Left": {"Type": "Pass", "End": true}}},
                {"StartAt": "Right", "States": {"Right": {"Type": "Pass", "End": true}}}]},
        }),
        "Both",
    );
    assert_eq!(svg.matches("class=\"branch\"").count(), 2);
    // One start and one end for the definition and for each branch.
    assert_eq!(svg.matches("class=\"mark\"").count(), 6);
}

/// Rectangles as (left, top, right, bottom).
type Rectangle = (f64, f64, f64, f64);

fn overlap(a: Rectangle, b: Rectangle) -> bool {
    a.0 < b.2 && b.0 < a.2 && a.1 < b.3 && b.1 < a.3
}

#[test]
fn no_label_lies_on_a_box_or_another_label() {
    let size = |width: f64, height: f64| Size { width, height };
    let boxes: Vec<Size> = (0..30_u8)
        .map(|it| size(100.0 + f64::from(it % 7) * 15.0, 40.0))
        .collect();
    let mut lines = Vec::new();
    for from in 0..30_usize {
        for (step, kind) in [(1, 0), (3, 0), (11, 1), (28, 0)] {
            let to = (from * step + step) % 30;
            let label = (kind == 0).then(|| size(80.0, 30.0));
            lines.push(Line {
                from,
                to,
                kind,
                label,
            });
        }
    }
    let placed = layout(&boxes, &lines);
    let mut rectangles: Vec<Rectangle> = placed
        .boxes
        .iter()
        .zip(&boxes)
        .map(|(at, size)| (at.x, at.y, at.x + size.width, at.y + size.height))
        .collect();
    rectangles.extend(
        placed
            .labels
            .iter()
            .flatten()
            .map(|at| (at.x - 40.0, at.y - 15.0, at.x + 40.0, at.y + 15.0)),
    );
    assert!(60 < rectangles.len());
    for (index, a) in rectangles.iter().enumerate() {
        assert!(
            0.0 <= a.0 && a.2 <= placed.size.width + 0.01 && a.3 <= placed.size.height + 0.01,
            "{a:?}"
        );
        for b in &rectangles[index + 1..] {
            assert!(!overlap(*a, *b), "{a:?} {b:?}");
        }
    }
}

#[test]
fn a_thousand_tangled_states_are_drawn_in_bounded_time() {
    let boxes = vec![
        Size {
            width: 100.0,
            height: 40.0
        };
        1_000
    ];
    let lines: Vec<Line> = (0..4_000_usize)
        .map(|it| Line {
            from: it % 1_000,
            to: (it * 7_919 + 13) % 1_000,
            kind: 0,
            label: None,
        })
        .collect();
    let placed = layout(&boxes, &lines);
    assert_eq!(placed.boxes.len(), 1_000);
}
