//! Requests and results of resident vector sets: named sets of rows that stay in the worker between tasks.

mod filter;
mod input;
mod request;
mod result;

pub use filter::{FieldCondition, FieldRange, FieldValue, FieldValues, SetFilter};
pub use input::{IdsInput, MetadataInput, MetadataValue};
pub use request::{
    SearchCertainty, SetAppendRequest, SetCreateRequest, SetDeleteRequest, SetDropRequest, SetDtype, SetGetRequest, SetIdKind,
    SetListRequest, SetLoadRequest, SetSaveRequest, SetSearchRequest, SetSketch, SetStatsRequest, SetUpsertRequest,
};
pub use result::{
    SearchFacts, SetBytesOutput, SetDeleteOutput, SetDropOutput, SetFileOutput, SetGetOutput, SetInfo, SetListOutput, SetSearchOutput,
    SetStateName, SetWriteOutput,
};
