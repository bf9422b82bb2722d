/* microtome_plugin.h — version 1 of the interface between Microtome and a plug-in: a shared library that brings analyses
 * of its own to `microtome` and to the desktop app alike. Plain C99; depends on nothing but <stdint.h>.
 *
 * A plug-in exports one function, microtome_plugin_entry (at the end of this file). It gets the table of what the program
 * can do for it and gives back the table of what it brings. ../README.md shows one from start to finish.
 *
 * Rules that hold for everything below
 *   Text      UTF-8, ends with a zero byte. A pointer may be null only where that is said.
 *   Ownership What one side passes in a call, the other copies before it returns, unless another lifetime is given.
 *   Errors    A function that can fail gives a microtome_code and writes one sentence into *error (which a plug-in may pass
 *             as null). A failed add_…, param_… or item_… call (but MICROTOME_NOT_FOUND of item_array) is remembered: the
 *             run fails with it even where the plug-in goes on. C++ exceptions that leave a callback are caught.
 *   Threads   The callbacks of one run come one after another, on one thread. Functions that take a run may be called only
 *             inside a callback of that run, on its thread. Other runs may be busy on other threads meanwhile.
 *   Growth    Structs that begin with version and size may grow at their end within a version: whoever fills one sets both,
 *             whoever reads one looks no further than size. The others stay as they are for the whole version. A library
 *             made for another version is refused.
 */
#ifndef MICROTOME_PLUGIN_H
#define MICROTOME_PLUGIN_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MICROTOME_PLUGIN_VERSION 1

enum microtome_code {
  MICROTOME_OK = 0,
  MICROTOME_BAD_INPUT = 1,     /* a value or a prompt is wrong */
  MICROTOME_NOT_FOUND = 2,     /* something named does not exist */
  MICROTOME_UNSUPPORTED = 3,   /* well-formed, but not possible here */
  MICROTOME_FAILED = 4,        /* the work failed */
  MICROTOME_CANCELLED = 5,     /* the person cancelled: return it at once */
  MICROTOME_OUT_OF_MEMORY = 6  /* pass it on: the item is tried again with smaller batches */
};

/* what to do belongs into the sentence: "the prompt is empty: give at least one token". */
typedef struct microtome_error {
  int32_t code;
  char text[1020];
} microtome_error;

/* One run of an analysis; the program's own. */
typedef struct microtome_run microtome_run;

/* ---- tensors: DLPack's DLTensor, field for field -------------------------------------------------------------------- */

enum { MICROTOME_CPU = 1, MICROTOME_CUDA = 2 };                              /* microtome_device.type (DLDeviceType) */
enum { MICROTOME_INT = 0, MICROTOME_UINT = 1, MICROTOME_FLOAT = 2, MICROTOME_BFLOAT = 4, MICROTOME_BOOL = 6 };  /* .code */

typedef struct microtome_device {
  int32_t type;
  int32_t id;
} microtome_device;

typedef struct microtome_dtype {
  uint8_t code, bits;
  uint16_t lanes; /* 1 */
} microtome_dtype;

typedef struct microtome_tensor {
  void* data;
  microtome_device device;
  int32_t ndim;
  microtome_dtype dtype;
  int64_t* shape;
  int64_t* strides; /* in elements; null: row-major */
  uint64_t byte_offset;
} microtome_tensor;

/* ---- what a run is about -------------------------------------------------------------------------------------------- */

/* The plug-in sets version and size. Pointers live as long as the run. */
typedef struct microtome_model {
  uint32_t version, size;
  const char* name;   /* the folder's */
  const char* family; /* "llama", "gated_deltanet" … */
  const char* dtype;  /* of the computation: "float32" … */
  const char* json;   /* everything `microtome inspect --json` knows of layers and hook points */
  int64_t layers, d_model, vocab_size;
  int64_t context_length; /* 0: no bound */
  microtome_device device;
} microtome_model;

/* One line of the dataset. The plug-in sets version and size. Pointers live as long as the run. */
typedef struct microtome_prompt {
  uint32_t version, size;
  int64_t line; /* in its file, from 1; 0: made by a task */
  const int64_t* clean;
  int64_t clean_count;
  const int64_t* corrupted; /* as long as clean where the analysis asks for pairs */
  int64_t corrupted_count;
  const int64_t* answers; /* ids of the right answers at the last position; may be none */
  int64_t answer_count;
  const int64_t* wrong;
  int64_t wrong_count;
  const char* json; /* {"labels": {…}, "positions": {label: index}} */
} microtome_prompt;

/* ---- running the model ---------------------------------------------------------------------------------------------- */

typedef struct microtome_capture {
  const char* pattern;      /* a hook point or a glob: "blocks.*.attn.hook_z" */
  const int64_t* positions; /* negative: from the end; null with count 0: all */
  int64_t position_count;
} microtome_capture;

/* A tensor that interventions name as {"run": NAME}; it must broadcast to the place it goes to. */
typedef struct microtome_source {
  const char* name; /* not "clean": that is the same tokens run without interventions */
  microtome_tensor tensor;
} microtome_source;

enum { MICROTOME_LOGITS_ALL = 0, MICROTOME_LOGITS_NONE = 1, MICROTOME_LOGITS_AT = 2 };

typedef struct microtome_forward {
  uint32_t version, size;
  const int64_t* tokens; /* rows × length, row by row; prompts of different length run in different calls, never padded */
  int64_t rows, length;
  int32_t logits;                 /* MICROTOME_LOGITS_… */
  int32_t on_device;              /* 0: results as row-major float32 (float64 where the run is) in main memory;
                                     1: as they are, on the model's device, perhaps strided */
  const int64_t* logit_positions; /* for MICROTOME_LOGITS_AT: ascending; negative: from the end */
  int64_t logit_position_count;
  const microtome_capture* captures;
  int64_t capture_count;
  const char* interventions; /* JSON, the list that `microtome forward --intervene` reads; null: none */
  const microtome_source* sources;
  int64_t source_count;
} microtome_forward;

typedef struct microtome_captured {
  const char* name; /* "blocks.3.attn.hook_z" */
  const char* const* axes;
  const int64_t* positions; /* absolute, where only some were asked for; null: all */
  int64_t position_count;
  microtome_tensor tensor;
} microtome_captured;

typedef struct microtome_forward_result {
  uint32_t version, size;
  microtome_tensor logits; /* [row, position, vocab]; data is null when none were asked for */
  const microtome_captured* captured;
  int64_t captured_count;
} microtome_forward_result;

/* ---- what a run gives ----------------------------------------------------------------------------------------------- */

enum { MICROTOME_FLOAT32 = 1, MICROTOME_FLOAT64 = 2, MICROTOME_INT64 = 3 }; /* microtome_array.type */

/* Row-major. Missing cells are NaN. At most 16 axes. */
typedef struct microtome_array {
  const char* name;
  int32_t type;
  int32_t axis_count;
  const char* const* axes; /* "prompt", "pos", "layer", "head" … */
  const int64_t* shape;
  const void* data;
  const char* unit; /* "nats", "logits", "tokens" …; may be null */
  const char* help; /* one sentence: what the numbers are; null: the output's of the same name */
} microtome_array;

typedef struct microtome_axis_labels {
  const char* axis;
  int64_t count; /* at least the axis' length */
  const char* const* labels;
} microtome_axis_labels;

typedef struct microtome_look {
  const char* array;
  const char* look; /* "sequential" (from 0), "diverging" (white at 0), "pattern" (query × key) */
} microtome_look;

/* Arrays that are shown together. */
typedef struct microtome_tensor_map {
  const char *name, *title;
  const microtome_array* arrays;
  int64_t array_count;
  const microtome_axis_labels* labels; /* axes without labels show their index */
  int64_t label_count;
  const microtome_look* looks;
  int64_t look_count;
} microtome_tensor_map;

enum { MICROTOME_CELL_EMPTY = 0, MICROTOME_CELL_INTEGER = 1, MICROTOME_CELL_NUMBER = 2, MICROTOME_CELL_TEXT = 3 };

typedef struct microtome_cell {
  int32_t kind; /* which of the three holds */
  int64_t integer;
  double number;
  const char* text;
} microtome_cell;

typedef struct microtome_column {
  const char *name, *unit, *help; /* unit and help may be null */
} microtome_column;

typedef struct microtome_table {
  const char *name, *title;
  const microtome_column* columns;
  int64_t column_count;
  const microtome_cell* cells; /* row_count × column_count, row by row */
  int64_t row_count;
} microtome_table;

typedef struct microtome_line {
  const char* name;
  const double *x, *y;
  int64_t count;
} microtome_line;

typedef struct microtome_series {
  const char *name, *title, *x_label, *y_label;
  const microtome_line* lines;
  int64_t line_count;
} microtome_series;

/* One number of the summary. low and high: a 95 % interval over n prompts, or NaN both. */
typedef struct microtome_summary {
  const char *name, *unit, *help; /* unit and help may be null */
  double value, low, high;
  int64_t n;
} microtome_summary;

/* ---- the program's table -------------------------------------------------------------------------------------------- */

/* Lives as long as the process. Texts given back live as long as the run. */
typedef struct microtome_host {
  uint32_t version, size;

  /* level 0: a remark, 1: a warning. Needs no run. */
  void (*log)(int32_t level, const char* text);

  int32_t (*model)(microtome_run*, microtome_model* out, microtome_error*);
  int64_t (*prompt_count)(microtome_run*);
  int32_t (*prompt)(microtome_run*, int64_t index, microtome_prompt* out, microtome_error*);
  /* A token as a person should see it; "#17" where there is no tokenizer. */
  const char* (*token_text)(microtome_run*, int64_t id);
  /* The id of a text that is exactly one token (" Mary"); -1: it is not, or there is no tokenizer. */
  int64_t (*single_token)(microtome_run*, const char* text);
  /* Parameters of params.json, defaults filled in, already checked against type and range. */
  int32_t (*param_bool)(microtome_run*, const char* name);
  int64_t (*param_int)(microtome_run*, const char* name);
  double (*param_float)(microtome_run*, const char* name);
  const char* (*param_text)(microtome_run*, const char* name);
  /* The seed of every random draw of an item, so that a resumed run draws what it would have drawn. */
  uint64_t (*item_seed)(microtome_run*, int64_t item);
  /* Rows that a forward of the longest prompt should have at most; may shrink between calls of run_item. */
  int64_t (*batch_rows)(microtome_run*);

  /* Without gradients, in the run's mixer form. The result lives until free_forward or until the callback returns. */
  int32_t (*forward)(microtome_run*, const microtome_forward* request, const microtome_forward_result** result,
                     microtome_error*);
  void (*free_forward)(microtome_run*, const microtome_forward_result*);

  /* In run_item, at least once a batch: reports (what may be null), and gives MICROTOME_CANCELLED when it is time to stop. */
  int32_t (*step)(microtome_run*, int64_t done, int64_t total, const char* what);
  int32_t (*cancelled)(microtome_run*);

  /* In run_item: one array of the item. They are stored at once, and read back in finish. */
  int32_t (*add_array)(microtome_run*, const microtome_array*, microtome_error*);
  /* In finish: an array of any item, by name. Pointers live until finish returns. */
  int32_t (*item_array)(microtome_run*, int64_t item, const char* name, microtome_array* out, microtome_error*);

  /* In finish: the result, in the order in which a reader should meet it. */
  int32_t (*add_summary)(microtome_run*, const microtome_summary*, microtome_error*);
  /* A summary line from one value a prompt: their mean with a 95 % bootstrap interval. NaN values are left out. */
  int32_t (*add_mean)(microtome_run*, const char* name, const double* values, int64_t count, const char* unit,
                      const char* help, microtome_error*);
  int32_t (*add_finding)(microtome_run*, const char* sentence, microtome_error*);
  int32_t (*add_warning)(microtome_run*, const char* sentence, microtome_error*);
  int32_t (*add_table)(microtome_run*, const microtome_table*, microtome_error*);
  int32_t (*add_tensor_map)(microtome_run*, const microtome_tensor_map*, microtome_error*);
  int32_t (*add_series)(microtome_run*, const microtome_series*, microtome_error*);
  int32_t (*add_text)(microtome_run*, const char* name, const char* title, const char* markdown, microtome_error*);
} microtome_host;

/* ---- the plug-in's table -------------------------------------------------------------------------------------------- */

typedef struct microtome_output {
  const char* name;
  const char* const* axes;
  int64_t axis_count;
  const char* help;
} microtome_output;

enum { MICROTOME_PROMPTS_NONE = 0, MICROTOME_PROMPTS_CLEAN = 1, MICROTOME_PROMPTS_PAIRS = 2 };

/* One analysis. Lives as long as the process. */
typedef struct microtome_analysis {
  uint32_t version, size;
  const char* name;         /* a-z, 0-9 and _, at most 64: what `microtome run NAME` takes; must be new */
  int64_t analysis_version; /* from 1; raised whenever the same inputs give another answer */
  const char* title;
  const char* definition; /* what is computed, exactly */
  const char* source;     /* the paper; may be null */
  const char* params;     /* params.json: {"params": [{"name", "type", "default", "range", "choices", "help", "affects"}]} */
  const microtome_output* outputs;
  int64_t output_count;
  int32_t prompts;       /* MICROTOME_PROMPTS_…: what the dataset must hold; checked before create */
  int32_t needs_answers; /* 1: every prompt must have an answer */
  void* user;            /* handed to create; may be null */

  /* *handle is what the other callbacks get; may stay null. */
  int32_t (*create)(void* user, microtome_run* run, void** handle, microtome_error* error);
  /* Items are computed and kept one by one. Their number and content follow from the input alone. */
  int64_t (*item_count)(void* handle);
  /* May be null: then "item 3". */
  void (*item_title)(void* handle, int64_t item, char* text, uint64_t text_size);
  /* May not depend on which items ran before; hands over arrays with add_array. */
  int32_t (*run_item)(void* handle, microtome_run* run, int64_t item, microtome_error* error);
  /* A pure function of all items (some of them perhaps read from a project) and of what create derived from the input. */
  int32_t (*finish)(void* handle, microtome_run* run, microtome_error* error);
  /* Called once for every create that gave MICROTOME_OK; may be null. */
  void (*destroy)(void* handle);
} microtome_analysis;

/* Lives as long as the process. */
typedef struct microtome_plugin {
  uint32_t version, size; /* MICROTOME_PLUGIN_VERSION, sizeof(microtome_plugin) */
  const char* name;
  const char* plugin_version; /* "1.2"; may be null */
  const microtome_analysis* const* analyses;
  int64_t analysis_count;
  /* Room for what later versions take from plug-ins. Must be null and 0 now: others are refused, not ignored. */
  const void* const* tasks;
  int64_t task_count;
  const void* const* mixers;
  int64_t mixer_count;
} microtome_plugin;

#if defined(_WIN32)
#define MICROTOME_PLUGIN_EXPORT __declspec(dllexport)
#elif defined(__GNUC__)
#define MICROTOME_PLUGIN_EXPORT __attribute__((visibility("default")))
#else
#define MICROTOME_PLUGIN_EXPORT
#endif

/* The one function of a plug-in. Called before anything else, and gives the same table each time; null: the plug-in cannot
 * serve this program (say why with host->log). */
MICROTOME_PLUGIN_EXPORT const microtome_plugin* microtome_plugin_entry(const microtome_host* host);

#ifdef __cplusplus
}
#endif
#endif
