//! Filters, as a body and as a query string, and how they become the store's.

use std::path::PathBuf;

use bt_query::parse;
use bt_store::Filter;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::pairs;
use crate::described;
use crate::error::ApiError;

/// Which pictures may be results: those for which everything that is given here holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FilterBody {
    /// In one of these folders or below; absolute, as the facets list them.
    #[schema(schema_with = described::folders)]
    pub(crate) folders: Vec<String>,
    /// Taken in or after this year, month or day: `2024`, `2024-07`, `2024-07-03`.
    #[schema(schema_with = described::period_or_null)]
    pub(crate) after: Option<String>,
    /// Taken before this year, month or day.
    #[schema(schema_with = described::period_or_null)]
    pub(crate) before: Option<String>,
    /// The camera's name contains this.
    pub(crate) camera: Option<String>,
    /// Of one of these types: `jpeg`, `png`, ...
    #[schema(schema_with = described::types)]
    pub(crate) types: Vec<String>,
    /// At least so large: `12MP`, `2000x1500` or `5MB`.
    #[schema(schema_with = described::size_or_null)]
    pub(crate) larger_than: Option<String>,
    /// Taken near a place.
    pub(crate) near: Option<NearBody>,
}

/// A place and a distance from it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NearBody {
    /// Degrees, north positive.
    #[schema(minimum = -90, maximum = 90)]
    pub(crate) latitude: f64,
    /// Degrees, east positive.
    #[schema(minimum = -180, maximum = 180)]
    pub(crate) longitude: f64,
    /// Kilometres.
    #[schema(exclusive_minimum = 0)]
    pub(crate) radius_km: f64,
}

impl FilterBody {
    /// As the store asks.
    pub(crate) fn filter(&self) -> Result<Filter, ApiError> {
        let mut all = Vec::new();
        let any = |filters: Vec<Filter>| (!filters.is_empty()).then_some(Filter::Any(filters));
        let folders = self.folders.iter().map(|folder| {
            let path = PathBuf::from(folder);
            if path.is_absolute() {
                Ok(Filter::InFolder(path))
            } else {
                Err(
                    ApiError::bad_request(format!("the folder `{folder}` is not absolute"))
                        .hint("/v1/facets lists the folders"),
                )
            }
        });
        all.extend(any(folders.collect::<Result<_, _>>()?));
        if let Some(text) = &self.after {
            all.push(Filter::TakenFrom(parse::period("after", text)?.from));
        }
        if let Some(text) = &self.before {
            all.push(Filter::TakenBefore(parse::period("before", text)?.from));
        }
        let camera = self.camera.clone().filter(|camera| !camera.is_empty());
        all.extend(camera.map(Filter::Camera));
        let types = self.types.iter().map(|text| parse::format("type", text));
        all.extend(any(types.collect::<Result<_, _>>()?));
        if let Some(text) = &self.larger_than {
            all.push(parse::larger_than("larger_than", text)?);
        }
        if let Some(NearBody {
            latitude,
            longitude,
            radius_km,
        }) = self.near
        {
            // The text form has the checks.
            all.push(parse::near(
                "near",
                &format!("{latitude},{longitude},{radius_km}"),
            )?);
        }
        Ok(Filter::All(all))
    }
}

/// The filters of a query string.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(crate) struct FilterParams {
    /// In this folder or below; absolute, as the facets list them; may repeat.
    #[param(schema_with = described::folders)]
    #[serde(deserialize_with = "pairs::list")]
    pub(crate) folder: Vec<String>,
    /// Taken in or after this year, month or day: `2024`, `2024-07`, `2024-07-03`.
    #[param(schema_with = described::period)]
    pub(crate) after: Option<String>,
    /// Taken before this year, month or day.
    #[param(schema_with = described::period)]
    pub(crate) before: Option<String>,
    /// The camera's name contains this.
    #[param(nullable = false)]
    pub(crate) camera: Option<String>,
    /// Of this type: `jpeg`, `png`, ...; may repeat.
    #[param(schema_with = described::types)]
    #[serde(deserialize_with = "pairs::list")]
    pub(crate) r#type: Vec<String>,
    /// At least so large: `12MP`, `2000x1500` or `5MB`.
    #[param(schema_with = described::size)]
    pub(crate) larger_than: Option<String>,
    /// Taken near a place: `LATITUDE,LONGITUDE,KILOMETRES`.
    #[param(schema_with = described::place)]
    pub(crate) near: Option<String>,
}

impl FilterParams {
    /// The same as a body.
    pub(crate) fn body(&self) -> Result<FilterBody, ApiError> {
        let near = match &self.near {
            None => None,
            Some(text) => match parse::near("near", text)? {
                Filter::Near {
                    latitude,
                    longitude,
                    radius_km,
                } => Some(NearBody {
                    latitude,
                    longitude,
                    radius_km,
                }),
                _ => None,
            },
        };
        Ok(FilterBody {
            folders: self.folder.clone(),
            after: self.after.clone(),
            before: self.before.clone(),
            camera: self.camera.clone(),
            types: self.r#type.clone(),
            larger_than: self.larger_than.clone(),
            near,
        })
    }
}
