//! Memory that one writer appends to while others read what is already there.
//!
//! The only unsafe code of this crate. A safe buffer would need a lock around every read, held during the write to a
//! socket, or a copy per subscriber; either costs more than the rest of the path together. This module knows nothing
//! of events.
//!
//! The argument: [`channel`] makes exactly one [`Writer`], which cannot be cloned, and any number of [`Reader`]s over
//! the same memory. The writer writes only at and after `published`, and only the writer moves `published`, forward,
//! after the bytes below it are written (release, read with acquire). So bytes below `published` never change while a
//! reader can see them, and only the writer touches bytes at or above it. Memory is reused only through
//! [`Reader::recycle`], which proves that it holds the last handle.
#![allow(unsafe_code)]

use std::alloc::Layout;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use memmap2::MmapMut;

/// The one handle that appends.
pub(crate) struct Writer<T: Copy> {
    memory: Arc<Memory<T>>,
    /// The end of what was appended; at least `published`, at most the capacity.
    end: usize,
}

/// A handle that reads what is published.
pub(crate) struct Reader<T: Copy> {
    memory: Arc<Memory<T>>,
}

/// A writer and a reader over new memory for `capacity` items. Pages are not touched before they
/// are written.
pub(crate) fn channel<T: Copy>(capacity: usize) -> (Writer<T>, Reader<T>) {
    handles(Arc::new(Memory::new(capacity)))
}

fn handles<T: Copy>(memory: Arc<Memory<T>>) -> (Writer<T>, Reader<T>) {
    (
        Writer {
            memory: Arc::clone(&memory),
            end: 0,
        },
        Reader { memory },
    )
}

impl<T: Copy> Writer<T> {
    /// How many more items fit.
    pub(crate) fn room(&self) -> usize {
        self.memory.capacity - self.end
    }

    /// How many items were appended.
    pub(crate) const fn end(&self) -> usize {
        self.end
    }

    /// Appends items; readers see them after [`Writer::publish`].
    ///
    /// # Panics
    /// When they do not fit: the caller asks [`Writer::room`] first.
    #[inline]
    pub(crate) fn append(&mut self, items: &[T]) {
        assert!(
            items.len() <= self.room(),
            "append past the capacity of a segment"
        );
        // SAFETY: `end + items.len()` is within the capacity (checked above), so the target is inside the allocation.
        // It is at or above `published`, where no reader looks and no other writer exists; `items` is a live borrow of
        // other memory, since nobody can hold a reference to memory at or above `published`.
        unsafe {
            let target = self.memory.start.add(self.end);
            target.copy_from_nonoverlapping(NonNull::from(items).cast(), items.len());
        }
        self.end += items.len();
    }

    /// Shows readers all that was appended.
    #[inline]
    pub(crate) fn publish(&self) {
        self.memory.published.store(self.end, Ordering::Release);
    }
}

impl<T: Copy> Reader<T> {
    /// What is published. Later calls may show more, never less, and never other items.
    #[inline]
    pub(crate) fn published(&self) -> &[T] {
        let published = self.memory.published.load(Ordering::Acquire);
        // SAFETY: items below `published` were initialised before it was stored, which the acquire
        // load sees; they are not written again while `self` borrows the memory (see the module).
        unsafe { std::slice::from_raw_parts(self.memory.start.as_ptr(), published) }
    }

    /// How many items the memory holds at most.
    pub(crate) fn capacity(&self) -> usize {
        self.memory.capacity
    }

    /// Fresh handles over the same memory, if this is the last handle to it.
    pub(crate) fn recycle(self) -> Option<(Writer<T>, Self)> {
        let mut memory = self.memory;
        *Arc::get_mut(&mut memory)?.published.get_mut() = 0;
        Some(handles(memory))
    }
}

struct Memory<T> {
    start: NonNull<T>,
    capacity: usize,
    published: AtomicUsize,
    /// Owns what `start` points to. Mapped and not allocated: when the log shrinks its memory goes
    /// back to the system, which an allocator would keep.
    _mapping: MmapMut,
}

// SAFETY: `Memory` owns its items like a boxed slice does; the pointer is not tied to a thread.
unsafe impl<T: Send> Send for Memory<T> {}
// SAFETY: shared use is either reading below `published` or the one writer's appends above it, as
// the module's argument says; sharing read items needs `T: Sync`, handing them over `T: Send`.
unsafe impl<T: Send + Sync> Sync for Memory<T> {}

impl<T> Memory<T> {
    fn new(capacity: usize) -> Self {
        // A mapping begins at a page, which is aligned for every type there is.
        const { assert!(align_of::<T>() <= 4096) };
        let layout = Layout::array::<T>(capacity).expect("a segment fits the address space");
        let Ok(mut mapping) = MmapMut::map_anon(layout.size().max(1)) else {
            // As every allocation that fails.
            std::alloc::handle_alloc_error(layout)
        };
        let start = NonNull::from(&mut mapping[..]).cast();
        Self {
            start,
            capacity,
            published: AtomicUsize::new(0),
            _mapping: mapping,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_see_what_is_published_and_no_more() {
        let (mut writer, reader) = channel::<u8>(8);
        writer.append(b"abc");
        assert_eq!(reader.published(), b"");
        writer.publish();
        let early = reader.published();
        writer.append(b"defgh");
        writer.publish();
        assert_eq!(early, b"abc");
        assert_eq!(reader.published(), b"abcdefgh");
        assert_eq!(writer.room(), 0);
    }

    #[test]
    #[should_panic(expected = "past the capacity")]
    fn an_append_past_the_capacity_is_refused() {
        channel::<u8>(2).0.append(b"abc");
    }

    #[test]
    fn memory_is_recycled_by_the_last_handle_only() {
        let (mut writer, reader) = channel::<u8>(4);
        writer.append(b"abcd");
        writer.publish();
        let (writer_left, reader) = (writer, reader);
        let second = Reader {
            memory: Arc::clone(&reader.memory),
        };
        drop(writer_left);
        assert!(reader.recycle().is_none());
        let (writer, reader) = second.recycle().expect("the last handle");
        assert_eq!((writer.room(), reader.published()), (4, &b""[..]));
    }

    #[test]
    fn a_reader_on_another_thread_never_sees_unwritten_items() {
        let (mut writer, reader) = channel::<u32>(100_000);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut seen = 0;
                while seen < 100_000 {
                    let items = reader.published();
                    for (at, item) in items.iter().enumerate().skip(seen) {
                        assert_eq!(*item as usize, at);
                    }
                    seen = items.len();
                }
            });
            for item in 0..100_000u32 {
                writer.append(&[item]);
                writer.publish();
            }
        });
    }
}
