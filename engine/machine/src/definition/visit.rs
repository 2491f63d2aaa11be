//! Visits every query of a state.

use super::states::{
    Catcher, Condition, Items, Kind, MapDef, Number, Rule, Seconds, Selection, StateDef, Timestamp,
    Until,
};
use super::template::Template;
use crate::expression::Expression;
use crate::finding::at;
use crate::jsonpath::{ChoiceRule, Path, PathExpression};

/// Something in a definition that reads data.
#[derive(Clone, Copy)]
pub(crate) enum Query<'a> {
    Expression(&'a Expression),
    /// The value of a key `k.$`: a path or a call of an intrinsic function.
    PathExpression(&'a PathExpression),
    Path(&'a Path),
    Rule(&'a ChoiceRule),
}

type Visit<'v, 'a> = &'v mut dyn FnMut(&str, Query<'a>);

impl StateDef {
    /// Visits every JSONata expression of the state with its JSON pointer (inner levels not included).
    pub fn expressions<'a>(&'a self, visit: &mut dyn FnMut(&str, &'a Expression)) {
        self.queries(&mut |pointer, query| {
            if let Query::Expression(expression) = query {
                visit(pointer, expression);
            }
        });
    }

    /// Visits every query of the state with its JSON pointer (inner levels not included).
    pub fn queries<'a>(&'a self, visit: Visit<'_, 'a>) {
        let here = |field: &str| format!("{}/{field}", self.pointer);
        visit_assign(&self.assign, &here("Assign"), visit);
        visit_template(self.output.as_ref(), &here("Output"), visit);
        visit_selection(&self.paths.input, &here("InputPath"), visit);
        visit_template(self.paths.selector.as_ref(), &here("ResultSelector"), visit);
        visit_selection(&self.paths.output, &here("OutputPath"), visit);
        let arguments = match self.language {
            super::Language::Jsonata => here("Arguments"),
            super::Language::JsonPath => here("Parameters"),
        };
        match &self.kind {
            Kind::Task(task) => {
                visit_template(task.arguments.as_ref(), &arguments, visit);
                visit_seconds(task.timeout.as_ref(), &here("TimeoutSeconds"), visit);
                visit_seconds(task.heartbeat.as_ref(), &here("HeartbeatSeconds"), visit);
                if let Some(it) = &task.compensation {
                    let pointer = here("BTrust.Compensation/Arguments");
                    visit_template(it.arguments.as_ref(), &pointer, visit);
                }
            }
            Kind::Choice(rules) => {
                for (index, rule) in rules.iter().enumerate() {
                    visit_rule(rule, &here(&format!("Choices/{index}")), visit);
                }
            }
            Kind::Pass { parameters, .. } => {
                visit_template(parameters.as_ref(), &here("Parameters"), visit);
            }
            Kind::Wait(Until::Seconds(seconds)) => {
                visit_seconds(Some(seconds), &here("Seconds"), visit);
            }
            Kind::Wait(Until::Timestamp(timestamp)) => match timestamp {
                Timestamp::Literal(_) => {}
                Timestamp::Computed(it) => visit(&here("Timestamp"), Query::Expression(it)),
                Timestamp::Path(it) => visit(&here("TimestampPath"), Query::Path(it)),
            },
            Kind::Fail { error, cause } => {
                visit_template(error.as_ref(), &here("Error"), visit);
                visit_template(cause.as_ref(), &here("Cause"), visit);
            }
            Kind::Parallel { arguments: it, .. } => visit_template(it.as_ref(), &arguments, visit),
            Kind::Map(map) => visit_map(map, &self.pointer, visit),
            Kind::Succeed { again, .. } => {
                let input = again.as_ref().and_then(|it| it.input.as_ref());
                visit_template(input, &here("BTrust.ContinueAsNew/input"), visit);
            }
        }
        let handlers = self.handlers().into_iter();
        for (index, catcher) in handlers.flat_map(|it| it.catch.iter().enumerate()) {
            visit_catcher(catcher, &here(&format!("Catch/{index}")), visit);
        }
    }

    /// The names of the variables that the state's queries read.
    pub fn reads(&self) -> std::collections::BTreeSet<&str> {
        let mut names = std::collections::BTreeSet::new();
        self.queries(&mut |_, query| match query {
            Query::Expression(it) => names.extend(it.variables().iter().map(String::as_str)),
            Query::PathExpression(it) => names.extend(it.variables().iter().map(String::as_str)),
            Query::Path(it) => names.extend(it.variables().iter().map(String::as_str)),
            Query::Rule(it) => it.paths(&mut |path| {
                names.extend(path.variables().iter().map(String::as_str));
            }),
        });
        names
    }
}

fn visit_map<'a>(map: &'a MapDef, pointer: &str, visit: Visit<'_, 'a>) {
    let here = |field: &str| format!("{pointer}/{field}");
    match &map.items {
        Items::Input => {}
        Items::Template(it) => it.queries(&here("Items"), visit),
        Items::Path(it) => visit(&here("ItemsPath"), Query::Path(it)),
    }
    visit_template(map.selector.as_ref(), &here("ItemSelector"), visit);
    for (transfer, field) in [(&map.reader, "ItemReader"), (&map.writer, "ResultWriter")] {
        if let Some(it) = transfer {
            let pointer = here(&format!("{field}/Arguments"));
            visit_template(it.arguments.as_ref(), &pointer, visit);
        }
    }
    if let Some(it) = &map.batcher {
        visit_template(it.input.as_ref(), &here("ItemBatcher/BatchInput"), visit);
        visit_number(
            it.items_max.as_ref(),
            &here("ItemBatcher/MaxItemsPerBatch"),
            visit,
        );
        let pointer = here("ItemBatcher/MaxInputBytesPerBatch");
        visit_number(it.bytes_max.as_ref(), &pointer, visit);
    }
    visit_number(Some(&map.concurrency), &here("MaxConcurrency"), visit);
    visit_number(
        map.tolerated_count.as_ref(),
        &here("ToleratedFailureCount"),
        visit,
    );
    let pointer = here("ToleratedFailurePercentage");
    visit_number(map.tolerated_percentage.as_ref(), &pointer, visit);
}

fn visit_rule<'a>(rule: &'a Rule, pointer: &str, visit: Visit<'_, 'a>) {
    match &rule.condition {
        Condition::Literal(_) => {}
        Condition::Computed(it) => visit(&format!("{pointer}/Condition"), Query::Expression(it)),
        Condition::Compared(it) => visit(pointer, Query::Rule(it)),
    }
    visit_assign(&rule.assign, &format!("{pointer}/Assign"), visit);
    visit_template(rule.output.as_ref(), &format!("{pointer}/Output"), visit);
}

fn visit_catcher<'a>(catcher: &'a Catcher, pointer: &str, visit: Visit<'_, 'a>) {
    visit_assign(&catcher.assign, &format!("{pointer}/Assign"), visit);
    visit_template(catcher.output.as_ref(), &format!("{pointer}/Output"), visit);
}

fn visit_assign<'a>(assign: &'a [(String, Template)], pointer: &str, visit: Visit<'_, 'a>) {
    for (name, template) in assign {
        template.queries(&at(pointer, name), visit);
    }
}

fn visit_template<'a>(template: Option<&'a Template>, pointer: &str, visit: Visit<'_, 'a>) {
    if let Some(template) = template {
        template.queries(pointer, visit);
    }
}

fn visit_selection<'a>(selection: &'a Selection, pointer: &str, visit: Visit<'_, 'a>) {
    if let Selection::Path(path) = selection {
        visit(pointer, Query::Path(path));
    }
}

fn visit_seconds<'a>(seconds: Option<&'a Seconds>, pointer: &str, visit: Visit<'_, 'a>) {
    match seconds {
        Some(Seconds::Computed(it)) => visit(pointer, Query::Expression(it)),
        Some(Seconds::Path(it)) => visit(&format!("{pointer}Path"), Query::Path(it)),
        Some(Seconds::Literal(_)) | None => {}
    }
}

fn visit_number<'a>(number: Option<&'a Number>, pointer: &str, visit: Visit<'_, 'a>) {
    match number {
        Some(Number::Computed(it)) => visit(pointer, Query::Expression(it)),
        Some(Number::Path(it)) => visit(&format!("{pointer}Path"), Query::Path(it)),
        Some(Number::Literal(_)) | None => {}
    }
}
