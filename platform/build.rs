//! Rebuilds this crate when a migration that it embeds is added.

fn main() {
    println!("cargo::rerun-if-changed=../migrations/mysql/consumers");
    println!("cargo::rerun-if-changed=../migrations/sqlite/consumers");
    println!("cargo::rerun-if-changed=../migrations/sqlite/keys");
    println!("cargo::rerun-if-changed=../migrations/sqlite/steps");
}
