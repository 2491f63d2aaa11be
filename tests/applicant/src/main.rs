//! `btrust-demo`: plays an applicant over the platform's public API.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use btrust_demo::{
    camera,
    passport::{Passport, Validity},
    picture::jpeg,
};
use chrono::{DateTime, NaiveDate, Utc};
use clap::Parser;
use image::{Rgb, RgbImage};

#[derive(Parser)]
#[command(
    version,
    about = "Plays an applicant who is verified by a BTrust platform, over its public API."
)]
struct Options {
    /// Write the pictures that the applicant would show into DIR, and stop.
    #[arg(long, value_name = "DIR")]
    pictures: Option<PathBuf>,
    /// Seed of everything random about the applicant's pictures.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("btrust-demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    if let Some(dir) = &options.pictures {
        std::fs::create_dir_all(dir)?;
        for (name, validity) in [("genuine", Validity::Valid), ("expired", Validity::Expired)] {
            let portrait = RgbImage::from_pixel(340, 437, Rgb([150, 160, 170]));
            let page = Passport::of_applicant(validity, today()).render(&portrait)?;
            std::fs::write(dir.join(format!("passport-{name}.jpg")), jpeg(&page, 92)?)?;
            let shot = camera::photograph(&page, options.seed);
            std::fs::write(
                dir.join(format!("passport-{name}-shot.jpg")),
                jpeg(&shot, 90)?,
            )?;
        }
    }
    Ok(())
}

/// The day in UTC, from which the passport's dates derive.
#[expect(
    clippy::disallowed_methods,
    reason = "the applicant stands outside the platform, whose clock it cannot and must not share"
)]
fn today() -> NaiveDate {
    DateTime::<Utc>::from(std::time::SystemTime::now()).date_naive()
}
