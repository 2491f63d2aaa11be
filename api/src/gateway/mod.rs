//! The gateway (5008): what a bank's systems, its people and its applicants call.

mod acknowledge;
mod act;
mod act_on_workflows;
mod acts;
mod attribute_parameters;
mod audit_log;
mod cancel_workflow;
mod canonical;
mod change_search_attributes;
mod core_client;
mod count_workflows;
mod create_schedule;
mod cursor;
mod delete_schedule;
mod delete_workflow;
mod diff_versions;
mod fail_task;
mod file;
mod gates;
mod get_definition;
mod get_definition_version;
mod get_funnels;
mod get_history;
mod get_incident;
mod get_live_version;
mod get_result;
mod get_schedule;
mod get_workflow;
mod hold_workflow;
mod incident_views;
mod keep_task;
mod list_acknowledgements;
mod list_definitions;
mod list_incidents;
mod list_prompts;
mod list_schedules;
mod list_workflows;
mod migrate_workflows;
mod move_live_version;
mod pause_schedule;
mod pause_workflow;
mod picture;
mod publish_definition;
mod publish_version;
mod redrive_workflow;
mod replace_schedule;
mod resolve_incident;
mod restart_workflow;
mod resume_schedule;
mod resume_workflow;
mod retire_version;
mod schedules;
mod server;
mod signal_workflow;
mod start_workflow;
mod streams_client;
mod submission_schemas;
mod submit;
mod succeed_task;
mod sweep;
mod task_limits;
mod terminate_workflow;
mod trigger_schedule;
mod upload_object;
mod uploads;
mod views;
mod webhooks;

#[cfg(test)]
mod tests;

pub use self::{
    file::FILE_BYTES_MAX,
    server::{
        Config, Gateway, GatewayError, JSON_BYTES_MAX, Outside, catalogue, openapi_json, routes,
        serve,
    },
    upload_object::UPLOAD_BYTES_MAX,
    uploads::UNNAMED_TTL_MS,
};
