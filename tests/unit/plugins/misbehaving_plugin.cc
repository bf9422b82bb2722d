// Loads well and then does what its parameter says.
#include <microtome_plugin.h>

#include <cmath>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string>

namespace {

const microtome_host* host;
microtome_run* current;
std::string how;
int alive = 0;

bool is(const char* text) { return how == text; }

int32_t create(void*, microtome_run* run, void** handle, microtome_error* error) {
  current = run;
  how = host->param_text(run, "how");
  if (is("create_throws")) throw std::runtime_error("create is broken");
  if (is("create_fails")) {
    std::strcpy(error->text, "the moon is in the wrong phase: wait");
    return MICROTOME_BAD_INPUT;
  }
  if (is("unknown_param")) host->param_int(run, "height");
  if (is("wrong_param_type")) host->param_int(run, "how");
  if (is("array_in_create")) {
    microtome_array a{};
    host->add_array(run, &a, nullptr);
  }
  if (is("model_without_size")) {
    microtome_model m{};
    host->model(run, &m, nullptr);
  }
  *handle = &alive;
  ++alive;
  return MICROTOME_OK;
}

void destroy(void* handle) { --*static_cast<int*>(handle); }
int64_t item_count(void*) { return is("negative_items") ? -1 : is("endless_items") ? INT64_MAX : 3; }

void item_title(void*, int64_t, char* text, uint64_t size) {
  if (is("title_throws")) throw 7;
  std::memset(text, 'x', size);  // no zero at its end
}

int32_t run_item(void*, microtome_run* run, int64_t item, microtome_error* error) {
  static const char* const axes[] = {"a", "b"};
  static const int64_t shape[] = {2, 3}, negative[] = {2, -3}, huge[] = {int64_t{1} << 40, int64_t{1} << 40};
  static const double numbers[6] = {0, 1, 2, 3, 4, NAN};
  microtome_array a = {"numbers", MICROTOME_FLOAT64, 2, axes, shape, numbers, "nats", "six numbers"};
  if (is("throws")) throw std::runtime_error("run_item is broken");
  if (is("throws_int")) throw 42;
  if (is("throws_bad_alloc")) throw std::bad_alloc();
  if (is("fails_silently")) return MICROTOME_FAILED;
  if (is("odd_code")) return -12345;
  if (is("false_cancel")) return MICROTOME_CANCELLED;
  if (is("fills_error")) {
    std::memset(error->text, 'y', sizeof error->text);
    return MICROTOME_FAILED;
  }
  if (is("needs_small_batch") && host->batch_rows(run) > 2) return MICROTOME_OUT_OF_MEMORY;
  if (is("null_array")) host->add_array(run, nullptr, nullptr);
  if (is("null_data")) a.data = nullptr;
  if (is("null_name")) a.name = nullptr;
  if (is("null_axes")) a.axes = nullptr;
  if (is("negative_shape")) a.shape = negative;
  if (is("huge_shape")) a.shape = huge;
  if (is("many_axes")) a.axis_count = 1000;
  if (is("unknown_type")) a.type = 9;
  if (is("null_run")) {
    if (host->add_array(nullptr, &a, nullptr) == MICROTOME_OK || host->step(nullptr, 0, 1, "x") == MICROTOME_OK)
      return MICROTOME_OK;
  }
  if (is("result_in_item")) host->add_finding(run, "too early", nullptr);
  if (is("frees_twice")) {
    microtome_forward_result none{};
    host->free_forward(run, &none);
  }
  if (is("ignores_cancel")) {
    host->step(run, item, 3, "stepping");
  } else if (host->step(run, item, 3, "stepping") != MICROTOME_OK) {
    return MICROTOME_CANCELLED;
  }
  host->add_array(run, &a, nullptr);
  if (is("two_arrays")) host->add_array(run, &a, nullptr);
  return MICROTOME_OK;
}

int32_t finish(void*, microtome_run* run, microtome_error* error) {
  microtome_array a;
  if (host->item_array(run, 0, "absent", &a, error) != MICROTOME_NOT_FOUND) return MICROTOME_FAILED;
  if (is("wrong_item")) host->item_array(run, 99, "numbers", &a, nullptr);
  int32_t code = host->item_array(run, 2, "numbers", &a, error);
  if (code != MICROTOME_OK) return code;
  if (a.type != MICROTOME_FLOAT64 || a.axis_count != 2 || std::string(a.axes[1]) != "b" || a.shape[1] != 3)
    return MICROTOME_FAILED;
  const char* labels[] = {"one", "two", "three"};
  microtome_axis_labels axis = {"b", is("short_labels") ? 2 : 3, labels};
  if (is("label_without_axis")) axis.axis = "z";
  if (is("null_label")) labels[1] = nullptr;
  microtome_look look = {is("look_without_array") ? "other" : "numbers", is("bad_look") ? "pretty" : "diverging"};
  const microtome_array arrays[] = {a};
  microtome_tensor_map map = {"map", "A map", arrays, 1, &axis, 1, &look, 1};
  host->add_tensor_map(run, &map, nullptr);
  if (is("two_maps")) host->add_tensor_map(run, &map, nullptr);
  microtome_column columns[] = {{"n", nullptr, nullptr}, {"t", nullptr, nullptr}};
  microtome_cell cells[] = {{MICROTOME_CELL_INTEGER, 4, 0, nullptr},
                            {MICROTOME_CELL_TEXT, 0, 0, is("null_cell") ? nullptr : "four"},
                            {is("bad_cell") ? 12 : MICROTOME_CELL_NUMBER, 0, 0.5, nullptr},
                            {MICROTOME_CELL_EMPTY, 0, 0, nullptr}};
  microtome_table table = {"table", "A table", columns, 2, cells, is("negative_rows") ? -1 : 2};
  host->add_table(run, &table, nullptr);
  double x[] = {0, 1}, y[] = {2, NAN};
  microtome_line line = {"line", x, is("null_y") ? nullptr : y, 2};
  microtome_series series = {"series", is("null_title") ? nullptr : "A series", "x", "y", &line, 1};
  host->add_series(run, &series, nullptr);
  host->add_text(run, "text", "A text", "**bold**", nullptr);
  microtome_summary number = {"number", "nats", nullptr, 1.5, is("half_interval") ? 1.0 : NAN, NAN, 1};
  host->add_summary(run, &number, nullptr);
  double values[] = {1, 2, 3, NAN};
  host->add_mean(run, "mean", values, 4, "nats", "a mean", nullptr);
  host->add_finding(run, is("null_finding") ? nullptr : "It behaved.", nullptr);
  host->add_warning(run, "It is a test.", nullptr);
  if (is("finish_throws")) throw std::runtime_error("finish is broken");
  host->log(0, "finished\n\x1b[2J");
  return MICROTOME_OK;
}

// For the test: how many runs were created and not destroyed.
int64_t count_alive() { return alive; }

const microtome_output kOutputs[] = {{"numbers", nullptr, 0, "as declared"}};
const microtome_analysis kAnalysis = {
    MICROTOME_PLUGIN_VERSION, sizeof(microtome_analysis), "misbehaves", 1, "Misbehaves as told", "Nothing is computed.",
    nullptr, R"({"params": [{"name": "how", "type": "string", "default": "", "affects": "answer", "help": "What to do wrong."}]})",
    kOutputs, 1, MICROTOME_PROMPTS_NONE, 0, nullptr, create, item_count, item_title, run_item, finish, destroy};
const microtome_analysis* const kAnalyses[] = {&kAnalysis};
const microtome_plugin kPlugin = {
    MICROTOME_PLUGIN_VERSION, sizeof(microtome_plugin), "misbehaves", nullptr, kAnalyses, 1, nullptr, 0, nullptr, 0};

}  // namespace

extern "C" MICROTOME_PLUGIN_EXPORT int64_t runs_alive() { return count_alive(); }

const microtome_plugin* microtome_plugin_entry(const microtome_host* h) {
  host = h;
  return &kPlugin;
}
