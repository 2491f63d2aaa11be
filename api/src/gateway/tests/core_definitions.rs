//! The definitions of the core of a few lines: the newest version that was made live is live.

use std::collections::HashMap;

use poem::{
    handler,
    web::{Data, Json, Path, Query},
};

use btrust_platform::clock::rfc3339;
use btrust_schemas::definition::{
    DefinitionView, DraftRequest, DraftResponse, LiveRequest, LiveView, MigrationReason,
    MigrationRequest, MigrationView, PublicationRequest, Publish, RetirementRequest, VersionStatus,
    VersionsView,
};
use btrust_schemas::ids::WorkflowId;

use super::core::{Answer, Core, Tables, lock, ok, refuse};

impl Tables {
    fn versions(&self, tenant: &str, name: &str) -> Vec<DefinitionView> {
        let own = self.definitions.iter();
        own.filter(|(owner, it)| owner == tenant && it.name == name)
            .map(|(_, it)| it.clone())
            .collect()
    }

    fn version(
        &mut self,
        tenant: &str,
        name: &str,
        version: u32,
    ) -> Result<&mut DefinitionView, poem::Error> {
        let is_it = |(owner, it): &&mut (String, DefinitionView)| {
            owner == tenant && it.name == name && it.version == version
        };
        match self.definitions.iter_mut().find(is_it) {
            Some((_, it)) => Ok(it),
            None => refuse(404, "definition_unknown"),
        }
    }

    fn make_live(&mut self, name: &str, version: u32, by: &str) {
        for (_, it) in self.definitions.iter_mut().filter(|it| it.1.name == name) {
            it.live = it.version == version;
        }
        self.moves.push(LiveView {
            version,
            revision: self.moves.len() as u64 + 1,
            moved_by: Some(by.to_owned()),
            moved_at: rfc3339(0),
        });
    }
}

#[handler]
pub fn draft_it(Data(core): Data<&Core>, Json(it): Json<DraftRequest>) -> Answer {
    let mut tables = lock(core);
    if it.publish == Publish::Yes && tables.second_person {
        return refuse(403, "second_person_required");
    }
    let known = tables.versions(&it.tenant, &it.name);
    if let Some(definition) = known.iter().find(|view| view.digest == it.digest).cloned() {
        return ok(DraftResponse {
            created: false,
            definition,
        });
    }
    let version = u32::try_from(known.len()).unwrap() + 1;
    let publishes = it.publish != Publish::No && !tables.second_person;
    let definition = DefinitionView {
        name: it.name.clone(),
        version,
        title: it.envelope["title"].as_str().unwrap().to_owned(),
        digest: it.digest,
        status: VersionStatus::Draft,
        author: Some(it.actor.clone()),
        created_at: rfc3339(0),
        publisher: None,
        published_at: None,
        retired_by: None,
        retired_at: None,
        live: false,
        envelope: Some(it.envelope),
    };
    tables.definitions.push((it.tenant.clone(), definition));
    if publishes {
        publish(tables.version(&it.tenant, &it.name, version)?, &it.actor);
        tables.make_live(&it.name, version, &it.actor);
    }
    let definition = tables.version(&it.tenant, &it.name, version)?.clone();
    ok(DraftResponse {
        created: true,
        definition,
    })
}

fn publish(view: &mut DefinitionView, by: &str) {
    view.status = VersionStatus::Published;
    view.publisher = Some(by.to_owned());
    view.published_at = Some(rfc3339(0));
}

fn short(view: &DefinitionView) -> DefinitionView {
    DefinitionView {
        envelope: None,
        ..view.clone()
    }
}

#[handler]
pub fn list_definitions(
    Data(core): Data<&Core>,
    Query(query): Query<HashMap<String, String>>,
) -> Answer {
    let tables = lock(core);
    let own = tables.definitions.iter();
    let own = own.filter(|(owner, it)| *owner == query["tenant"] && it.live);
    ok(own.map(|it| short(&it.1)).collect::<Vec<_>>())
}

#[handler]
pub fn get_definition(
    Data(core): Data<&Core>,
    Path(name): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Answer {
    let mut tables = lock(core);
    let versions = tables.versions(&query["tenant"], &name);
    let stands = versions.iter().find(|it| it.live).or(versions.last());
    let version = match (query.get("version"), stands) {
        (Some(version), _) => version.parse().unwrap(),
        (None, Some(stands)) => stands.version,
        (None, None) => 0,
    };
    ok(tables.version(&query["tenant"], &name, version)?)
}

#[handler]
pub fn list_versions(
    Data(core): Data<&Core>,
    Path(name): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Answer {
    let tables = lock(core);
    let versions = tables.versions(&query["tenant"], &name);
    ok(VersionsView {
        versions: versions.iter().rev().map(short).collect(),
        moves: tables.moves.iter().rev().cloned().collect(),
    })
}

#[handler]
pub fn publish_it(
    Data(core): Data<&Core>,
    Path((name, version)): Path<(String, u32)>,
    Json(it): Json<PublicationRequest>,
) -> Answer {
    let mut tables = lock(core);
    let second_person = tables.second_person;
    let view = tables.version(&it.tenant, &name, version)?;
    match view.status {
        VersionStatus::Retired => return refuse(409, "version_retired"),
        VersionStatus::Draft if second_person && view.author.as_ref() == Some(&it.actor) => {
            return refuse(403, "second_person_required");
        }
        VersionStatus::Draft => {
            publish(view, &it.actor);
            if it.live {
                tables.make_live(&name, version, &it.actor);
            }
        }
        VersionStatus::Published => {}
    }
    ok(short(tables.version(&it.tenant, &name, version)?))
}

#[handler]
pub fn retire_it(
    Data(core): Data<&Core>,
    Path((name, version)): Path<(String, u32)>,
    Json(it): Json<RetirementRequest>,
) -> Answer {
    let mut tables = lock(core);
    let view = tables.version(&it.tenant, &name, version)?;
    if view.live {
        return refuse(409, "version_live");
    }
    if view.status == VersionStatus::Draft {
        return refuse(409, "version_not_published");
    }
    view.status = VersionStatus::Retired;
    view.retired_by = Some(it.actor);
    ok(short(view))
}

#[handler]
pub fn get_live(
    Data(core): Data<&Core>,
    Path(name): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Answer {
    let tables = lock(core);
    if tables.versions(&query["tenant"], &name).is_empty() {
        return refuse(404, "definition_unknown");
    }
    match tables.moves.last() {
        Some(live) => ok(live),
        None => refuse(404, "definition_not_live"),
    }
}

#[handler]
pub fn move_live(
    Data(core): Data<&Core>,
    Path(name): Path<String>,
    Json(it): Json<LiveRequest>,
) -> Answer {
    let mut tables = lock(core);
    let status = tables.version(&it.tenant, &name, it.version)?.status;
    if status == VersionStatus::Draft {
        return refuse(409, "version_not_published");
    }
    let seen = tables.moves.len() as u64;
    if it.revision.is_some_and(|it| it != seen) {
        return refuse(412, "live_moved");
    }
    tables.make_live(&name, it.version, &it.actor);
    ok(tables.moves.last())
}

/// A page has one workflow that moves and one that cannot; there are two pages.
#[handler]
pub fn migrate_it(
    Data(core): Data<&Core>,
    Path(name): Path<String>,
    Json(it): Json<MigrationRequest>,
) -> Answer {
    let mut tables = lock(core);
    tables.version(&it.tenant, &name, it.from)?;
    let status = tables.version(&it.tenant, &name, it.to)?.status;
    if status == VersionStatus::Draft {
        return refuse(409, "version_not_published");
    }
    let reason = MigrationReason {
        code: "migration_inside".to_owned(),
        message: format!("dry run: {}", it.dry_run),
        count: 1,
        examples: vec![WorkflowId::new(1, [1; 15])],
    };
    ok(MigrationView {
        moved: 1,
        cannot: 1,
        reasons: vec![reason],
        next: it.cursor.is_none().then(|| "the rest".to_owned()),
    })
}
