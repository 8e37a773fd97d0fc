//! `weir search`.

use std::process::ExitCode;

use chrono::Utc;
use clap::Args;
use serde_json::{Value, json};

use super::common::{RegistryArgs, block, show};
use crate::registry::search::{Index, LIMIT, Order, Page, What, parse};
use crate::registry::view::{ModelSummary, VersionView};

/// `weir search`.
#[derive(Debug, Args)]
pub(in crate::app) struct SearchArgs {
    /// For example: tags.area = 'qna' AND metric.auc >= 0.9 AND alias = champion AND created > -7d
    #[arg(default_value = "", hide_default_value = true)]
    query: String,
    /// List each model of which a version fits, instead of versions
    #[arg(long)]
    models: bool,
    /// List each version that fits; this is what happens without it too
    #[arg(long, conflicts_with = "models")]
    versions: bool,
    /// The order: name, version, created, updated, opset or metric.NAME, with desc for descending
    #[arg(long, value_name = "ORDER", default_value = "name")]
    order_by: String,
    /// Results of a page
    #[arg(long, value_name = "N", default_value_t = LIMIT)]
    limit: usize,
    /// The page that follows the one that printed this
    #[arg(long, value_name = "TOKEN")]
    page_token: Option<String>,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl SearchArgs {
    pub(in crate::app) fn run(self) -> ExitCode {
        block(self.registry.json, async {
            let query = parse(&self.query).map_err(crate::registry::Refusal::from)?;
            let order: Order = self.order_by.parse()?;
            let registry = self.registry.open().await?;
            let mut index = Index::default();
            for view in registry.all().await? {
                index.update(&view.state);
            }
            let what = if self.models { What::Models } else { What::Versions };
            let token = self.page_token.as_deref();
            let page = index.search(&query, what, &order, self.limit, token, Utc::now())?;
            self.print(&index, &page);
            Ok(())
        })
    }

    fn print(&self, index: &Index, page: &Page) {
        let mut found: Vec<Value> = Vec::new();
        let mut lines = String::new();
        for key in &page.found {
            let Some(state) = index.state(&key.model) else { continue };
            match key.version.filter(|_| !self.models) {
                None => {
                    let model = ModelSummary::new(state);
                    lines.push_str(&model.to_line());
                    found.push(json!(model));
                }
                Some(version) => {
                    let Some(version) = VersionView::find(state, version) else { continue };
                    lines.push_str(&format!(
                        "{}@{}",
                        key.model,
                        version.to_line().trim_start_matches("version ")
                    ));
                    found.push(json!(version));
                }
            }
        }
        let member = if self.models { "models" } else { "versions" };
        show(self.registry.json, &json!({ member: found, "next_page_token": page.next }), || {
            if let Some(token) = &page.next {
                lines.push_str(&format!("more: --page-token {token}\n"));
            }
            lines
        });
    }
}
