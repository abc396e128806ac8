//! Progress of a key or a batch: what is known of something that was sent.

use tokio::sync::oneshot;

use super::super::StoreError;

/// What is known of something that was sent.
#[derive(Debug)]
pub(super) enum Progress<T> {
    /// It is on its way to the disk, and these want to know what becomes of it.
    Runs(Vec<oneshot::Sender<Result<T, StoreError>>>),
    /// It is on the disk.
    Done(T),
    /// It has failed, and may be on the disk or not.
    Failed(StoreError),
}

impl<T: Copy> Progress<T> {
    /// Begins, for a first caller.
    pub(super) fn begin() -> (Self, oneshot::Receiver<Result<T, StoreError>>) {
        let (tell, told) = oneshot::channel();
        (Self::Runs(vec![tell]), told)
    }

    /// What a further caller is told.
    pub(super) fn join(&mut self) -> oneshot::Receiver<Result<T, StoreError>> {
        let (tell, told) = oneshot::channel();
        let outcome = match self {
            Self::Runs(callers) => {
                callers.push(tell);
                return told;
            }
            Self::Done(done) => Ok(*done),
            Self::Failed(error) => Err(error.clone()),
        };

        // The receiver is here.
        let _ = tell.send(outcome);
        told
    }

    pub(super) fn runs(&self) -> bool {
        matches!(self, Self::Runs(_))
    }

    /// Notes the outcome; returns those that want to know of it.
    pub(super) fn end(
        &mut self,
        outcome: &Result<T, StoreError>,
    ) -> Vec<oneshot::Sender<Result<T, StoreError>>> {
        let ended = match outcome {
            Ok(done) => Self::Done(*done),
            Err(error) => Self::Failed(error.clone()),
        };

        match std::mem::replace(self, ended) {
            Self::Runs(callers) => callers,
            Self::Done(_) | Self::Failed(_) => Vec::new(),
        }
    }
}
