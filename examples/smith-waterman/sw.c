// Finds the best local alignments of query proteins (FASTA on stdin) in /in/targets.fasta.
//
// Scores are exact: Smith & Waterman (1981) with affine gaps after Gotoh (1982), BLOSUM62 (Henikoff &
// Henikoff 1992), a gap of n residues costs 11 + n. They are computed 16 cells at a time (Farrar 2007,
// see striped.h), 8 when a score needs 16 bits, and one by one for the few alignments that are printed.
// Prints up to TOP hits per query with an expectation of at most argv[1], 0.001 when not given; README.md
// explains the columns.

#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wasm_simd128.h>

#define TARGETS "/in/targets.fasta"
#define GAP_OPEN 11
#define GAP_EXTEND 1
#define TOP 5
// Karlin-Altschul parameters of gapped BLOSUM62 11/1, as in NCBI BLAST's blast_stat.c.
#define LAMBDA 0.267
#define K 0.041

#define LETTERS 24
#define UNKNOWN 22  // X

static const char alphabet[LETTERS + 1] = "ARNDCQEGHILKMFPSTWYVBZX*";

static const int8_t blosum62[LETTERS][LETTERS] = {
    {4, -1, -2, -2, 0, -1, -1, 0, -2, -1, -1, -1, -1, -2, -1, 1, 0, -3, -2, 0, -2, -1, 0, -4},
    {-1, 5, 0, -2, -3, 1, 0, -2, 0, -3, -2, 2, -1, -3, -2, -1, -1, -3, -2, -3, -1, 0, -1, -4},
    {-2, 0, 6, 1, -3, 0, 0, 0, 1, -3, -3, 0, -2, -3, -2, 1, 0, -4, -2, -3, 3, 0, -1, -4},
    {-2, -2, 1, 6, -3, 0, 2, -1, -1, -3, -4, -1, -3, -3, -1, 0, -1, -4, -3, -3, 4, 1, -1, -4},
    {0, -3, -3, -3, 9, -3, -4, -3, -3, -1, -1, -3, -1, -2, -3, -1, -1, -2, -2, -1, -3, -3, -2, -4},
    {-1, 1, 0, 0, -3, 5, 2, -2, 0, -3, -2, 1, 0, -3, -1, 0, -1, -2, -1, -2, 0, 3, -1, -4},
    {-1, 0, 0, 2, -4, 2, 5, -2, 0, -3, -3, 1, -2, -3, -1, 0, -1, -3, -2, -2, 1, 4, -1, -4},
    {0, -2, 0, -1, -3, -2, -2, 6, -2, -4, -4, -2, -3, -3, -2, 0, -2, -2, -3, -3, -1, -2, -1, -4},
    {-2, 0, 1, -1, -3, 0, 0, -2, 8, -3, -3, -1, -2, -1, -2, -1, -2, -2, 2, -3, 0, 0, -1, -4},
    {-1, -3, -3, -3, -1, -3, -3, -4, -3, 4, 2, -3, 1, 0, -3, -2, -1, -3, -1, 3, -3, -3, -1, -4},
    {-1, -2, -3, -4, -1, -2, -3, -4, -3, 2, 4, -2, 2, 0, -3, -2, -1, -2, -1, 1, -4, -3, -1, -4},
    {-1, 2, 0, -1, -3, 1, 1, -2, -1, -3, -2, 5, -1, -3, -1, 0, -1, -3, -2, -2, 0, 1, -1, -4},
    {-1, -1, -2, -3, -1, 0, -2, -3, -2, 1, 2, -1, 5, 0, -2, -1, -1, -1, -1, 1, -3, -1, -1, -4},
    {-2, -3, -3, -3, -2, -3, -3, -3, -1, 0, 0, -3, 0, 6, -4, -2, -2, 1, 3, -1, -3, -3, -1, -4},
    {-1, -2, -2, -1, -3, -1, -1, -2, -2, -3, -3, -1, -2, -4, 7, -1, -1, -4, -3, -2, -2, -1, -2, -4},
    {1, -1, 1, 0, -1, 0, 0, 0, -1, -2, -2, 0, -1, -2, -1, 4, 1, -3, -2, -2, 0, 0, 0, -4},
    {0, -1, 0, -1, -1, -1, -1, -2, -2, -1, -1, -1, -1, -2, -1, 1, 5, -2, -2, 0, -1, -1, 0, -4},
    {-3, -3, -4, -4, -2, -2, -3, -2, -2, -3, -2, -3, -1, 1, -4, -3, -2, 11, 2, -3, -4, -3, -2, -4},
    {-2, -2, -2, -3, -2, -1, -2, -3, 2, -1, -1, -2, -1, 3, -3, -2, -2, 2, 7, -1, -3, -2, -1, -4},
    {0, -3, -3, -3, -1, -2, -2, -3, -3, 3, 1, -2, 1, -1, -2, -2, 0, -3, -1, 4, -3, -2, -1, -4},
    {-2, -1, 3, 4, -3, 0, 1, -1, 0, -3, -4, 0, -3, -3, -2, 0, -1, -4, -3, -3, 4, 1, -1, -4},
    {-1, 0, 0, 1, -3, 3, 4, -2, 0, -3, -3, 1, -1, -3, -1, 0, -1, -3, -2, -2, 1, 4, -1, -4},
    {0, -1, -1, -1, -2, -1, -1, -1, -1, -1, -1, -1, -1, -1, -2, 0, 0, -2, -1, -1, -1, -1, -1, -4},
    {-4, -4, -4, -4, -4, -4, -4, -4, -4, -4, -4, -4, -4, -4, -4, -4, -4, -4, -4, -4, -4, -4, -4, 1},
};

#define NAME score_8bit
#define LANES 16
#define LANE int8_t
#define FLOOR INT8_MIN
#define OP(op) wasm_i8x16_##op
#define SHIFT(v, in) \
  wasm_i8x16_shuffle(in, v, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30)
#include "striped.h"

#define NAME score_16bit
#define LANES 8
#define LANE int16_t
#define FLOOR INT16_MIN
#define OP(op) wasm_i16x8_##op
#define SHIFT(v, in) wasm_i16x8_shuffle(in, v, 7, 8, 9, 10, 11, 12, 13, 14)
#include "striped.h"

typedef struct {
  const char *header;  // without '>', ends with 0
  uint8_t *residues;   // indices into the alphabet
  int length;
} Sequence;

typedef struct {
  Sequence *all;
  size_t count;
  double residues;
} Set;

typedef struct {
  int score, columns, identical;
  int query_from, query_to, target_from, target_to;  // counted from 1, inclusive
} Alignment;

typedef struct {
  int score;
  size_t target;
} Hit;

static void fail(const char *what, const char *object) {
  fprintf(stderr, "sw: %s %s\n", what, object);
  exit(1);
}

// Room for `count` things and one vector more, aligned for vectors.
static void *allocate(size_t count, size_t size) {
  if (count > (SIZE_MAX - 32) / size) fail("too large for a 32-bit memory:", "a sequence");
  void *memory = aligned_alloc(16, (count * size + 31) & ~(size_t)15);
  if (memory == NULL) fail("out of memory for", "the sequences");
  return memory;
}

static char *read_all(FILE *file, const char *name) {
  size_t length = 0, capacity = 1 << 16;
  char *text = malloc(capacity);
  while (text != NULL) {
    length += fread(text + length, 1, capacity - length - 1, file);
    if (length < capacity - 1) break;
    char *larger = realloc(text, capacity *= 2);
    if (larger == NULL) free(text);
    text = larger;
  }
  if (text == NULL) fail("out of memory for", name);
  if (ferror(file)) fail("cannot read", name);
  text[length] = 0;
  return text;
}

// Turns FASTA text into sequences, in place: letters become indices into the alphabet.
static Set parse(char *text, const char *name) {
  uint8_t codes[256];
  memset(codes, UNKNOWN, sizeof codes);
  for (int i = 0; i < LETTERS; i++) {
    codes[(uint8_t)alphabet[i]] = i;
    if (alphabet[i] >= 'A') codes[(uint8_t)(alphabet[i] | 32)] = i;
  }
  size_t capacity = 0;
  for (char *at = text; *at != 0; at++)
    if (*at == '>' && (at == text || at[-1] == '\n')) capacity++;
  if (capacity == 0) fail("no FASTA sequence in", name);

  Set set = {allocate(capacity, sizeof(Sequence)), 0, 0};
  uint8_t *end = NULL;
  for (char *line = text; line != NULL && *line != 0;) {
    char *next = strchr(line, '\n');
    if (next != NULL) *next++ = 0;
    if (*line == '>') {
      line[strcspn(line, "\r")] = 0;
      end = (uint8_t *)(next != NULL ? next : line + strlen(line));
      set.all[set.count++] = (Sequence){line + 1, end, 0};
    } else if (set.count == 0) {
      if (line[strspn(line, " \t\r")] != 0) fail("no FASTA header at the start of", name);
    } else {
      for (; *line != 0; line++) {
        if ((uint8_t)*line <= ' ') continue;
        *end++ = codes[(uint8_t)*line];
        set.all[set.count - 1].length++;
        set.residues++;
      }
    }
    line = next;
  }
  return set;
}

// For each letter, the scores of matching it with the query, in the order in which the lanes need them:
// lane k of vector i belongs to query position i + k * segments.
static v128_t *make_profile(const Sequence *query, int lanes, int segments) {
  v128_t *profile = allocate((size_t)LETTERS * segments, sizeof(v128_t));
  int8_t *narrow = (int8_t *)profile;
  int16_t *wide = (int16_t *)profile;
  for (int letter = 0; letter < LETTERS; letter++)
    for (int i = 0; i < segments; i++)
      for (int k = 0; k < lanes; k++) {
        int at = i + k * segments;
        int score = at < query->length ? blosum62[letter][query->residues[at]] : INT8_MIN;
        if (lanes == 16) *narrow++ = score;
        else *wide++ = score;
      }
  return profile;
}

// Where a cell of the alignment matrix comes from.
enum { STOP, MATCH, SKIP_TARGET, SKIP_QUERY, SOURCE = 3, SKIP_TARGET_LONGER = 4, SKIP_QUERY_LONGER = 8 };

// The alignment itself, cell by cell (Gotoh 1982) with a trace back from the best cell.
static Alignment align(const Sequence *query, const Sequence *target) {
  int m = query->length, n = target->length;
  uint8_t *trace = allocate((size_t)m + 1, (size_t)n + 1);
  int *row = allocate(n + 1, sizeof(int)), *skips = allocate(n + 1, sizeof(int));
  for (int j = 0; j <= n; j++) row[j] = skips[j] = 0;

  Alignment best = {0};
  for (int i = 1; i <= m; i++) {
    const int8_t *scores = blosum62[query->residues[i - 1]];
    int diagonal = 0, skip = 0;
    for (int j = 1; j <= n; j++) {
      uint8_t from = 0;
      int open = row[j - 1] - GAP_OPEN - GAP_EXTEND;
      skip -= GAP_EXTEND;
      if (skip > open) from |= SKIP_TARGET_LONGER;
      else skip = open;
      open = row[j] - GAP_OPEN - GAP_EXTEND;
      skips[j] -= GAP_EXTEND;
      if (skips[j] > open) from |= SKIP_QUERY_LONGER;
      else skips[j] = open;

      int cell = diagonal + scores[target->residues[j - 1]], source = MATCH;
      if (skip > cell) cell = skip, source = SKIP_TARGET;
      if (skips[j] > cell) cell = skips[j], source = SKIP_QUERY;
      if (cell <= 0) cell = 0, source = STOP;
      diagonal = row[j];
      row[j] = cell;
      trace[(size_t)i * (n + 1) + j] = from | source;
      if (cell > best.score) best = (Alignment){.score = cell, .query_to = i, .target_to = j};
    }
  }

  int i = best.query_to, j = best.target_to;
  while (i > 0 && j > 0) {
    const uint8_t *at = &trace[(size_t)i * (n + 1) + j];
    int source = *at & SOURCE;
    if (source == STOP) break;
    if (source == MATCH) {
      best.identical += query->residues[--i] == target->residues[--j];
      best.columns++;
    } else if (source == SKIP_TARGET) {
      do j--, best.columns++;
      while (*at & SKIP_TARGET_LONGER && (at--, 1));
    } else {
      do i--, best.columns++;
      while (*at & SKIP_QUERY_LONGER && (at -= n + 1, 1));
    }
  }
  best.query_from = i + 1;
  best.target_from = j + 1;
  free(trace), free(row), free(skips);
  return best;
}

// Fills `top` with the best hits, best first and in file order when equal; returns how many there are.
static int search(const Sequence *query, const Set *targets, Hit top[TOP]) {
  int narrow_segments = (query->length + 15) / 16, wide_segments = (query->length + 7) / 8;
  v128_t *narrow = make_profile(query, 16, narrow_segments);
  v128_t *wide = make_profile(query, 8, wide_segments);
  v128_t *work = allocate(3 * (size_t)wide_segments, sizeof(v128_t));
  int found = 0;
  for (size_t t = 0; t < targets->count; t++) {
    const Sequence *target = &targets->all[t];
    int score = score_8bit(narrow, work, narrow_segments, target->residues, target->length);
    if (score < 0) score = score_16bit(wide, work, wide_segments, target->residues, target->length);
    if (score < 0) score = align(query, target).score;
    int rank = found;
    while (rank > 0 && score > top[rank - 1].score) rank--;
    if (rank == TOP || score == 0) continue;
    if (found < TOP) found++;
    memmove(&top[rank + 1], &top[rank], (found - rank - 1) * sizeof(Hit));
    top[rank] = (Hit){score, t};
  }
  free(narrow), free(wide), free(work);
  return found;
}

// Prints the parts of a UniProt header "id protein name OS=organism XX=…"; tabs would break the table.
static void print_text(const char *from, const char *to) {
  for (; from < to; from++) putchar((uint8_t)*from < ' ' ? ' ' : *from);
}

static void print_id(const Sequence *sequence) {
  print_text(sequence->header, sequence->header + strcspn(sequence->header, " \t"));
}

static void print_protein(const Sequence *sequence) {
  const char *from = sequence->header + strcspn(sequence->header, " \t");
  from += strspn(from, " \t");
  const char *to = strstr(from, " OS=");
  print_text(from, to != NULL ? to : from + strlen(from));
}

static void print_organism(const Sequence *sequence) {
  const char *from = strstr(sequence->header, " OS=");
  if (from == NULL) return;
  const char *to = from += 4;
  while (*to != 0 && !(to[0] == ' ' && to[1] != 0 && to[2] != 0 && to[3] == '=')) to++;
  print_text(from, to);
}

static void report(const Sequence *query, const Set *targets, const Hit *hit, double expect_max) {
  const Sequence *target = &targets->all[hit->target];
  double bits = (LAMBDA * hit->score - log(K)) / log(2);
  double expect = query->length * targets->residues * exp2(-bits);
  if (expect > expect_max) return;
  Alignment found = align(query, target);
  if (found.score != hit->score) fail("two ways to compute a score disagree on", target->header);
  print_id(query), putchar('\t'), print_id(target);
  printf("\t%d\t%.1f\t%.2g\t%.1f", found.score, bits, expect, 100.0 * found.identical / found.columns);
  printf("\t%d\t%d\t%d\t%d\t", found.query_from, found.query_to, found.target_from, found.target_to);
  print_protein(query), putchar('\t'), print_protein(target), putchar('\t'), print_organism(target);
  putchar('\n');
}

int main(int argc, char **argv) {
  char *end = "";
  double expect_max = argc > 1 ? strtod(argv[1], &end) : 0.001;
  if (argc > 2 || *end != 0) fail("expected one number, the largest expectation to print, not", argv[argc - 1]);
  FILE *file = fopen(TARGETS, "rb");
  if (file == NULL) fail(strerror(errno), TARGETS);
  Set targets = parse(read_all(file, TARGETS), TARGETS);
  Set queries = parse(read_all(stdin, "stdin"), "stdin");
  for (size_t q = 0; q < queries.count; q++) {
    if (queries.all[q].length == 0) continue;
    Hit top[TOP];
    int found = search(&queries.all[q], &targets, top);
    for (int i = 0; i < found; i++) report(&queries.all[q], &targets, &top[i], expect_max);
  }
  if (fflush(stdout) != 0 || ferror(stdout)) fail("cannot write", "stdout");
  return 0;
}
