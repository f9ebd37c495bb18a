//! Floor 4, resident vector sets: named sets of rows with names and metadata that stay in the worker between tasks.
//!
//! A set is a list of segments that never change, each with a mask of its dead rows; a [`Version`] is one such list. Readers hold a version and see
//! nothing of what is written meanwhile; a write makes the next version and puts it in the place of the last one, as a whole or not at all. Bytes of
//! rows are booked in the ledger before they are allocated and given back when the last version that needs them is gone; nothing is evicted.
//!
//! Speaks rows, names and filters, and knows no task: a caller's wish to stop reaches it as a question. Numbers lie in memory and in files as a
//! little-endian processor has them.

mod bits;
mod error;
mod files;
mod filter;
mod ids;
mod incoming;
mod lines;
mod metadata;
mod rows;
mod search;
mod segment;
mod set;
mod spec;
mod store;
#[cfg(test)]
mod tests;
mod version;

pub use bits::Bits;
pub use error::SetError;
pub use filter::{Bounds, FILTER_CONDITIONS_MAX, FILTER_DEPTH_MAX, FILTER_VALUES_MAX, Filter};
pub use ids::RowId;
pub use metadata::{FIELD_NAME_BYTES_MAX, FIELDS_MAX, FieldKind, META_LIST_MAX, META_TEXT_BYTES_MAX, MetaColumns, MetaValue, Schema};
pub use rows::{FeedBuffer, RowFeed, RowsIn};
pub use search::{Answer, Found, SetQuery, search_version};
pub use segment::SetBytes;
pub use set::{Doomed, NewRows, OnConflict, VectorSet, Watch, Written};
pub use spec::{
    ID_BYTES_MAX, IdKind, NAME_LEN_MAX, RowDtype, SEGMENT_ROWS, SET_DIM_MAX, SET_ROWS_MAX, SETS_MAX, SetSpec, SketchKind, check_name,
};
pub use store::{SetListing, SetState, SetStore};
pub use version::{Place, Version};

#[cfg(target_endian = "big")]
compile_error!("sets keep numbers as little-endian processors have them");
