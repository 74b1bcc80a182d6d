/* Count, total, spread and distribution of what a process did on a GPU, by kind and name, in bounded memory.
 *
 * Medians come from histograms with 128 buckets for each power of two: exact below 128, within 0.4 % above.
 */

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TALLY_NAMES 4096
#define TALLY_SLOTS (2 * TALLY_NAMES)
#define TALLY_BUCKETS 128
#define TALLY_OCTAVES 58
#define TALLY_OTHER "(further names)"

struct tally_values {
	uint64_t count, total, minimum, maximum;
	double mean, squares; /* Welford's running mean and sum of squared deviations */
	uint64_t *octaves[TALLY_OCTAVES];
};

struct tally_row {
	const char *kind;
	char *name;
	uint64_t count, untimed;
	struct tally_values time_ns, bytes;
};

struct tally {
	struct tally_row *slots[TALLY_SLOTS];
	uint64_t names, further;
};

static inline void tally_value(struct tally_values *v, uint64_t value)
{
	v->minimum = (0 == v->count || value < v->minimum) ? value : v->minimum;
	v->maximum = (value > v->maximum) ? value : v->maximum;
	v->count++;
	v->total += value;

	double distance = (double)value - v->mean;
	v->mean += distance / (double)v->count;
	v->squares += distance * ((double)value - v->mean);

	unsigned octave = 0, bucket = (unsigned)value;

	if (value >= TALLY_BUCKETS) {
		unsigned exponent = 63 - (unsigned)__builtin_clzll(value);
		octave = exponent - 6;
		bucket = (unsigned)(value >> (exponent - 7)) % TALLY_BUCKETS;
	}

	if (NULL == v->octaves[octave])
		v->octaves[octave] = calloc(TALLY_BUCKETS, sizeof(uint64_t));

	if (NULL != v->octaves[octave])
		v->octaves[octave][bucket]++;
}

static inline struct tally_row *tally_find(struct tally *t, const char *kind, const char *name)
{
	uint64_t hash = 14695981039346656037ULL; /* FNV-1a */

	for (const char *c = kind; *c; c++)
		hash = (hash ^ (unsigned char)*c) * 1099511628211ULL;
	for (const char *c = name; *c; c++)
		hash = (hash ^ (unsigned char)*c) * 1099511628211ULL;

	/* At most half of the slots are ever used, so that a free one ends the search. */
	for (uint64_t slot = hash % TALLY_SLOTS;; slot = (slot + 1) % TALLY_SLOTS) {
		struct tally_row *row = t->slots[slot];

		if (NULL != row) {
			if (0 == strcmp(row->kind, kind) && 0 == strcmp(row->name, name))
				return row;
			continue;
		}

		/* Room is kept for one row of further names for each kind. */
		if (t->names >= TALLY_NAMES - 16 && 0 != strcmp(name, TALLY_OTHER)) {
			t->further++;
			return tally_find(t, kind, TALLY_OTHER);
		}

		row = calloc(1, sizeof(*row));
		if (NULL == row || NULL == (row->name = strdup(name))) {
			free(row);
			return NULL;
		}
		row->kind = kind;
		t->slots[slot] = row;
		t->names++;
		return row;
	}
}

/* Add one operation; start_ns or end_ns 0: it was seen, but its time is not known. kind must stay valid. */
static inline void tally_add(struct tally *t, const char *kind, const char *name, uint64_t start_ns, uint64_t end_ns,
			     int has_bytes, uint64_t bytes)
{
	struct tally_row *row = tally_find(t, kind, name);

	if (NULL == row)
		return;

	row->count++;
	if (0 == start_ns || end_ns < start_ns)
		row->untimed++;
	else
		tally_value(&row->time_ns, end_ns - start_ns);
	if (has_bytes)
		tally_value(&row->bytes, bytes);
}

static inline void tally_write_values(FILE *file, const struct tally_values *v)
{
	fprintf(file, "\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%.17g\t", v->count, v->total, v->minimum,
		v->maximum, v->squares);

	const char *separator = "";

	for (unsigned octave = 0; octave < TALLY_OCTAVES; octave++) {
		for (unsigned bucket = 0; bucket < TALLY_BUCKETS && NULL != v->octaves[octave]; bucket++) {
			uint64_t count = v->octaves[octave][bucket];
			uint64_t lower = octave ? (uint64_t)(TALLY_BUCKETS + bucket) << (octave - 1) : bucket;

			if (0 == count)
				continue;
			fprintf(file, "%s%" PRIu64 ":%" PRIu64, separator, lower, count);
			separator = ",";
		}
	}
}

/* Write every row: kind, name, count, untimed; then for time and bytes each: count, total, minimum, maximum, sum of
 * squared deviations, histogram as "lower bound:count,...". */
static inline void tally_write(FILE *file, const struct tally *t)
{
	for (unsigned slot = 0; slot < TALLY_SLOTS; slot++) {
		const struct tally_row *row = t->slots[slot];

		if (NULL == row)
			continue;
		fprintf(file, "row\t%s\t", row->kind);
		for (const char *c = row->name; *c; c++)
			fputc(((unsigned char)*c < ' ') ? ' ' : *c, file);
		fprintf(file, "\t%" PRIu64 "\t%" PRIu64, row->count, row->untimed);
		tally_write_values(file, &row->time_ns);
		tally_write_values(file, &row->bytes);
		fputc('\n', file);
	}
}
