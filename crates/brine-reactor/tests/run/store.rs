//! A history whose disk the tests hold: what waits for it is lost when the process is killed.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex};

use brine_log::history::{
    Batch, Block, BlockReader, BlockStore, Consumer, Head, RecordedGap, State, StoreError, Totals,
};
use brine_log::{Millis, Seq};

/// What is stored, and whether more can be.
#[derive(Clone, Default)]
pub(crate) struct Disk(Arc<(Mutex<Content>, Condvar)>);

#[derive(Clone, Default)]
struct Content {
    state: Option<State>,
    blocks: BTreeMap<u64, Block>,
    consumers: BTreeMap<String, Consumer>,
    gaps: Vec<RecordedGap>,
    is_held: bool,
    is_dead: bool,
}

impl Disk {
    /// From now on, what is written waits.
    pub(crate) fn hold(&self) {
        self.0.0.lock().unwrap().is_held = true;
    }

    /// What waits is written.
    pub(crate) fn let_go(&self) {
        self.0.0.lock().unwrap().is_held = false;
        self.0.1.notify_all();
    }

    /// What waits is lost: the disk as the next process finds it.
    pub(crate) fn kill(&self) -> Self {
        let mut content = self.0.0.lock().unwrap();
        let kept = Content {
            is_held: false,
            ..content.clone()
        };
        content.is_dead = true;
        drop(content);
        self.let_go();
        Self(Arc::new((Mutex::new(kept), Condvar::new())))
    }

    /// How many events are stored.
    pub(crate) fn events(&self) -> u64 {
        let heads = self.kept().blocks.into_values().map(|block| block.head);
        heads.map(|head| head.last.0 + 1 - head.first.0).sum()
    }

    fn kept(&self) -> Content {
        self.0.0.lock().unwrap().clone()
    }
}

impl BlockStore for Disk {
    fn reading(&mut self) -> &mut dyn BlockReader {
        self
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let held = self.0.0.lock().unwrap();
        let mut content = self
            .0
            .1
            .wait_while(held, |content| content.is_held)
            .unwrap();
        if content.is_dead {
            return Err(StoreError::Full);
        }
        for block in &batch.blocks {
            if block.head.sealed {
                let range = block.head.first.0..=block.head.last.0;
                content.blocks.retain(|first, _| !range.contains(first));
            }
            content.blocks.insert(block.head.first.0, block.clone());
        }
        content.gaps.extend(batch.gaps.iter().cloned());
        content.state = batch.state.or(content.state);
        for consumer in &batch.consumers {
            let name = consumer.name.to_string();
            content.consumers.insert(name, consumer.clone());
        }
        Ok(())
    }

    fn tidy_up(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn finish(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn shrink(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn reader(&self) -> Result<Box<dyn BlockReader>, StoreError> {
        Ok(Box::new(self.clone()))
    }
}

impl BlockReader for Disk {
    fn state(&mut self) -> Result<Option<State>, StoreError> {
        Ok(self.kept().state)
    }

    fn block(&mut self, at: Seq) -> Result<Option<Block>, StoreError> {
        let mut blocks = self.kept().blocks.into_values();
        Ok(blocks.find(|block| block.head.last >= at))
    }

    fn first_after(&mut self, at: Seq) -> Result<Option<Seq>, StoreError> {
        let blocks = self.kept().blocks;
        let next = blocks.range(at.0 + 1..).next();
        Ok(next.map(|(first, _)| Seq(*first)))
    }

    fn block_before(&mut self, at: Seq) -> Result<Option<Block>, StoreError> {
        let blocks = self.kept().blocks;
        let last = blocks.range(..at.0).next_back();
        Ok(last.map(|(_, block)| block.clone()))
    }

    fn consumers(&mut self) -> Result<Vec<Consumer>, StoreError> {
        Ok(self.kept().consumers.into_values().collect())
    }

    // Nothing here is asked for the rest.

    fn find(&mut self, _: Millis) -> Result<Option<Head>, StoreError> {
        Ok(None)
    }

    fn tags(
        &mut self,
        _: Seq,
        _: &mut dyn FnMut(Seq, Seq, &[u8]) -> bool,
    ) -> Result<(), StoreError> {
        Ok(())
    }

    fn unpruned(&mut self, _: Range<Millis>, _: u64) -> Result<Option<Block>, StoreError> {
        Ok(None)
    }

    fn oldest(&mut self, _: usize) -> Result<Vec<Head>, StoreError> {
        Ok(Vec::new())
    }

    fn totals(&mut self) -> Result<Totals, StoreError> {
        Ok(Totals::default())
    }

    fn used_bytes(&mut self) -> Result<u64, StoreError> {
        Ok(0)
    }

    fn gaps(&mut self) -> Result<Vec<RecordedGap>, StoreError> {
        Ok(self.kept().gaps)
    }

    fn check(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}
