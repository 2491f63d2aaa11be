//! `btrust audit export`: a tenant's log as an archive.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use crate::Folders;

#[derive(Args)]
pub struct Export {
    /// Whose log
    #[arg(long, value_name = "ID")]
    tenant: String,
}

impl Export {
    pub fn run(self, folders: &Folders) -> anyhow::Result<ExitCode> {
        super::super::runtime()?.block_on(self.export(folders))?;
        Ok(ExitCode::SUCCESS)
    }

    async fn export(self, folders: &Folders) -> anyhow::Result<()> {
        let (_stores, reader) = super::open(folders).await?;
        let tenant = &self.tenant;
        let incarnations = reader.incarnations(tenant).await?;
        anyhow::ensure!(
            !incarnations.is_empty(),
            "no record of the tenant {tenant} is covered by a checkpoint yet"
        );
        for incarnation in incarnations {
            let mut after = 0;
            loop {
                let page = reader.checkpoints(tenant, Some(incarnation), after).await?;
                for checkpoint in &page.checkpoints {
                    let number = checkpoint.number;
                    let lines = reader.archive(tenant, incarnation, number).await;
                    for line in
                        lines.with_context(|| format!("cannot read up to checkpoint {number}"))?
                    {
                        say!("{line}");
                    }
                }
                match page.next {
                    Some(next) => after = next,
                    None => break,
                }
            }
        }
        Ok(())
    }
}
