/* shared_prefix — how much of every prompt pair is alike: whether pairs are minimal, and what patching need not compute
 * again. Plain C, runs no model. */
#include <microtome_plugin.h>
#include <stdlib.h>

static const microtome_host* host;

struct state {
  microtome_run* run;
  int64_t pairs;
};

static int32_t create(void* user, microtome_run* run, void** handle, microtome_error* error) {
  struct state* s = malloc(sizeof *s);
  (void)user;
  (void)error;
  if (!s) return MICROTOME_OUT_OF_MEMORY;
  s->run = run;
  s->pairs = host->prompt_count(run);
  *handle = s;
  return MICROTOME_OK;
}

static void destroy(void* handle) { free(handle); }

/* One item: all pairs are cheap. */
static int64_t item_count(void* handle) {
  (void)handle;
  return 1;
}

static int32_t run_item(void* handle, microtome_run* run, int64_t item, microtome_error* error) {
  static const char* const axes[] = {"pair", "number"};
  struct state* s = handle;
  int64_t shape[2], i, t;
  int64_t* numbers = malloc((size_t)s->pairs * 3 * sizeof *numbers);
  int32_t code;
  (void)item;
  if (!numbers) return MICROTOME_OUT_OF_MEMORY;
  for (i = 0; i < s->pairs; ++i) {
    microtome_prompt p = {0};
    int64_t first, different = 0;
    p.version = MICROTOME_PLUGIN_VERSION;
    p.size = sizeof p;
    code = host->prompt(run, i, &p, error);
    if (code == MICROTOME_OK) code = host->step(run, i, s->pairs, "comparing");
    if (code != MICROTOME_OK) {
      free(numbers);
      return code;
    }
    first = p.clean_count;
    for (t = p.clean_count - 1; t >= 0; --t)
      if (p.clean[t] != p.corrupted[t]) {
        first = t;
        ++different;
      }
    numbers[3 * i] = p.clean_count;
    numbers[3 * i + 1] = first;
    numbers[3 * i + 2] = different;
  }
  shape[0] = s->pairs;
  shape[1] = 3;
  {
    microtome_array a = {"numbers", MICROTOME_INT64, 2, axes, shape, NULL, "tokens", NULL};
    a.data = numbers;
    code = host->add_array(run, &a, error);
  }
  free(numbers);
  return code;
}

static int32_t finish(void* handle, microtome_run* run, microtome_error* error) {
  static const microtome_column columns[] = {{"pair", NULL, NULL},
                                             {"tokens", "tokens", "length of the clean prompt"},
                                             {"first_difference", "tokens", "tokens before the first one that differs"},
                                             {"different", "tokens", "positions where the two differ"}};
  struct state* s = handle;
  microtome_array all;
  microtome_table table = {"pairs", "Where clean and corrupted prompts differ", columns, 4, NULL, 0};
  microtome_cell* cells = calloc((size_t)s->pairs * 4, sizeof *cells);
  double* shares = malloc((size_t)s->pairs * sizeof *shares);
  int64_t i, k, same = 0;
  const int64_t* numbers;
  int32_t code = MICROTOME_OUT_OF_MEMORY;
  if (cells && shares) code = host->item_array(run, 0, "numbers", &all, error);
  if (code == MICROTOME_OK) {
    numbers = all.data;
    for (i = 0; i < s->pairs; ++i) {
      for (k = 0; k < 4; ++k) {
        cells[4 * i + k].kind = MICROTOME_CELL_INTEGER;
        cells[4 * i + k].integer = k == 0 ? i + 1 : numbers[3 * i + k - 1];
      }
      shares[i] = (double)numbers[3 * i + 1] / (double)numbers[3 * i];
      same += numbers[3 * i + 2] == 0;
    }
    table.cells = cells;
    table.row_count = s->pairs;
    code = host->add_table(run, &table, error);
  }
  if (code == MICROTOME_OK)
    code = host->add_mean(run, "shared_prefix", shares, s->pairs, "", "share of a prompt before the first difference", error);
  if (code == MICROTOME_OK)
    code = host->add_finding(run, same ? "Some pairs do not differ at all: patching them shows nothing."
                                       : "Every pair differs somewhere, as patching needs.", error);
  free(cells);
  free(shares);
  return code;
}

static const char* const table_axes[] = {"pair"};
static const microtome_output outputs[] = {{"pairs", table_axes, 1, "length, first difference and number of differences"}};
static const microtome_analysis shared_prefix = {
    MICROTOME_PLUGIN_VERSION, sizeof(microtome_analysis), "shared_prefix", 1, "Shared prefix of prompt pairs",
    "For each pair: its length T, the first position where clean and corrupted ids differ (T: nowhere), and the number of "
    "positions where they differ.",
    NULL, "{\"params\": []}", outputs, 1, MICROTOME_PROMPTS_PAIRS, 0, NULL, create, item_count, NULL, run_item, finish, destroy};
static const microtome_analysis* const analyses[] = {&shared_prefix};
static const microtome_plugin plugin = {
    MICROTOME_PLUGIN_VERSION, sizeof(microtome_plugin), "shared prefix (example)", "1.0", analyses, 1, NULL, 0, NULL, 0};

const microtome_plugin* microtome_plugin_entry(const microtome_host* h) {
  host = h;
  return &plugin;
}
