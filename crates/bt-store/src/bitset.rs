//! A set of rows, one bit each.

/// Which of `rows` rows are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bitset {
    words: Vec<u64>,
    rows: usize,
}

impl Bitset {
    pub(crate) fn none(rows: usize) -> Self {
        Self {
            words: vec![0; rows.div_ceil(64)],
            rows,
        }
    }

    pub(crate) fn all(rows: usize) -> Self {
        let mut set = Self {
            words: vec![u64::MAX; rows.div_ceil(64)],
            rows,
        };
        set.clear_padding();
        set
    }

    /// Rows for which `test` holds, asked in order.
    pub(crate) fn of(rows: usize, mut test: impl FnMut(usize) -> bool) -> Self {
        let mut set = Self::none(rows);
        for row in 0..rows {
            if test(row) {
                set.insert(row);
            }
        }
        set
    }

    /// Number of rows that it speaks of, set or not.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Number of rows that are set.
    pub(crate) fn count(&self) -> usize {
        self.words
            .iter()
            .map(|word| word.count_ones() as usize)
            .sum()
    }

    pub(crate) fn insert(&mut self, row: usize) {
        debug_assert!(row < self.rows);
        if let Some(word) = self.words.get_mut(row / 64) {
            *word |= 1 << (row % 64);
        }
    }

    pub(crate) fn remove(&mut self, row: usize) {
        if let Some(word) = self.words.get_mut(row / 64) {
            *word &= !(1 << (row % 64));
        }
    }

    /// False for a row that is out of range.
    pub(crate) fn contains(&self, row: usize) -> bool {
        self.words
            .get(row / 64)
            .is_some_and(|word| word >> (row % 64) & 1 == 1)
    }

    /// The bits of rows `64 * index ..`, lowest row in the lowest bit.
    pub(crate) fn word(&self, index: usize) -> u64 {
        self.words.get(index).copied().unwrap_or(0)
    }

    pub(crate) fn and(&mut self, other: &Self) {
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word &= other;
        }
    }

    pub(crate) fn or(&mut self, other: &Self) {
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word |= other;
        }
    }

    pub(crate) fn invert(&mut self) {
        for word in &mut self.words {
            *word = !*word;
        }
        self.clear_padding();
    }

    fn clear_padding(&mut self) {
        if !self.rows.is_multiple_of(64)
            && let Some(last) = self.words.last_mut()
        {
            *last &= (1 << (self.rows % 64)) - 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows_of(set: &Bitset) -> impl Iterator<Item = usize> {
        (0..set.rows()).filter(|row| set.contains(*row))
    }

    #[test]
    fn rows_come_back_in_order_and_padding_is_never_set() {
        for rows in [0, 1, 63, 64, 65, 130] {
            let mut set = Bitset::of(rows, |row| row % 3 == 0);
            assert!(rows_of(&set).eq((0..rows).step_by(3)));
            assert_eq!(set.count(), rows.div_ceil(3));
            set.invert();
            assert!(rows_of(&set).eq((0..rows).filter(|row| row % 3 != 0)));
            assert!(!set.contains(rows));
            assert_eq!(Bitset::all(rows).count(), rows);
        }
    }

    #[test]
    fn sets_combine_as_sets_do() {
        let even = Bitset::of(200, |row| row % 2 == 0);
        let third = Bitset::of(200, |row| row % 3 == 0);
        let combine = |how: fn(&mut Bitset, &Bitset)| {
            let mut set = even.clone();
            how(&mut set, &third);
            set
        };
        assert_eq!(combine(Bitset::and), Bitset::of(200, |row| row % 6 == 0));
        assert_eq!(
            combine(Bitset::or),
            Bitset::of(200, |row| row % 2 == 0 || row % 3 == 0)
        );
    }
}
