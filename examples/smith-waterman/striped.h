// Striped Smith-Waterman score (Farrar 2007) for one width of lane.
//
// Included once for each width, with these macros:
//   NAME    the function to define
//   LANES   how many cells fit into a vector
//   LANE    the signed integer of one cell
//   FLOOR   the smallest LANE
//   OP(op)  the vector instruction `op` for this width
//   SHIFT(v, in)  v moved up by one lane, `in`'s last lane coming in below
//
// A cell of value x is stored as FLOOR + x. Saturating arithmetic then gives local alignment for free:
// what would fall below 0 stays at FLOOR, and what grows too large stays at the largest LANE, which the
// caller sees as the answer -1 and repeats with wider lanes.

static int NAME(const v128_t *profile, v128_t *work, int segments, const uint8_t *target, int length) {
  const v128_t floor = OP(splat)(FLOOR);
  const v128_t open = OP(splat)(GAP_OPEN + GAP_EXTEND);
  const v128_t extend = OP(splat)(GAP_EXTEND);
  v128_t *before = work, *now = work + segments, *gaps = work + 2 * segments;
  v128_t best = floor;
  for (int i = 0; i < segments; i++) now[i] = gaps[i] = floor;

  for (int j = 0; j < length; j++) {
    const v128_t *scores = profile + target[j] * segments;
    v128_t *swap = before;
    before = now;
    now = swap;

    v128_t h = SHIFT(before[segments - 1], floor);
    v128_t f = floor;
    for (int i = 0; i < segments; i++) {
      v128_t e = gaps[i];
      h = OP(max)(OP(max)(OP(add_sat)(h, scores[i]), e), f);
      best = OP(max)(best, h);
      now[i] = h;
      h = OP(sub_sat)(h, open);
      gaps[i] = OP(max)(OP(sub_sat)(e, extend), h);
      f = OP(max)(OP(sub_sat)(f, extend), h);
      h = before[i];
    }

    // A gap that crosses from one lane's part of the query into the next is rare: follow it only while
    // it beats a gap opened on the spot. `gaps` need not be raised: a gap next to a gap of the other
    // kind costs more than any mismatch. Nor `best`: a gap scores less than the cell it starts from.
    f = SHIFT(f, floor);
    for (int i = 0; wasm_v128_any_true(OP(gt)(f, OP(sub_sat)(now[i], open)));) {
      now[i] = OP(max)(now[i], f);
      f = OP(sub_sat)(f, extend);
      if (++i == segments) {
        f = SHIFT(f, floor);
        i = 0;
      }
    }
  }

  LANE cells[LANES];
  wasm_v128_store(cells, best);
  int top = cells[0];
  for (int k = 1; k < LANES; k++)
    if (cells[k] > top) top = cells[k];
  return top == -(FLOOR + 1) ? -1 : top - (FLOOR);
}

#undef NAME
#undef LANES
#undef LANE
#undef FLOOR
#undef OP
#undef SHIFT
