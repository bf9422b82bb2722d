// What a plug-in hands over, checked and copied.
#include <algorithm>
#include <cmath>
#include <set>

#include "plugins/host/run_state.h"

namespace microtome::plugins {
namespace {

template <class T>
std::vector<T> numbers_of(const void* data, int64_t n) {
  const T* from = static_cast<const T*>(data);
  return std::vector<T>(from, from + n);
}

std::string name_of(const char* name, const char* what) {
  std::string out = text_of(name, std::string("the name of ") + what, kNameBytes);
  if (out.empty()) throw Error(StatusCode::kBadInput, std::string("the name of ") + what + " is empty");
  return out;
}

void need(const void* thing, const char* what) {
  if (!thing) throw Error(StatusCode::kBadInput, std::string(what) + " is null");
}

}  // namespace

NamedArray read_array(const microtome_array* a, const PluginAnalysis& analysis) {
  need(a, "the array");
  NamedArray out;
  out.name = name_of(a->name, "an array");
  std::string who = "array '" + out.name + "'";
  check_list(a->axes, a->axis_count, "the axes of " + who, 16);
  check_list(a->shape, a->axis_count, "the sizes of " + who, 16);
  int64_t size = 1;
  for (int32_t i = 0; i < a->axis_count; ++i) {
    out.axes.push_back(name_of(a->axes[i], ("an axis of " + who).c_str()));
    int64_t n = a->shape[i];
    if (n < 0 || n > kManyNumbers || (n > 0 && size > kManyNumbers / n))
      throw Error(StatusCode::kBadInput,
                  who + " has " + std::to_string(n) + " along axis '" + out.axes.back() + "', which cannot be");
    size *= n;
    out.shape.push_back(n);
  }
  if (size > 0 && !a->data) throw Error(StatusCode::kBadInput, "the numbers of " + who + " are null");
  switch (a->type) {
    case MICROTOME_FLOAT32:
      out.data = numbers_of<float>(a->data, size);
      break;
    case MICROTOME_FLOAT64:
      out.data = numbers_of<double>(a->data, size);
      break;
    case MICROTOME_INT64:
      out.data = numbers_of<int64_t>(a->data, size);
      break;
    default:
      throw Error(StatusCode::kBadInput, who + " has the unknown type " + std::to_string(a->type));
  }
  out.unit = text_of(a->unit, "the unit of " + who, kNameBytes, "");
  out.help = text_of(a->help, "the help of " + who, kTextBytes, "");
  if (out.help.empty())
    for (const PluginAnalysis::Output& o : analysis.outputs)
      if (o.name == out.name) out.help = o.help;
  return out;
}

Table read_table(const microtome_table* t) {
  need(t, "the table");
  Table out;
  out.name = name_of(t->name, "a table");
  std::string who = "table '" + out.name + "'";
  out.title = text_of(t->title, "the title of " + who, kTextBytes);
  check_list(t->columns, t->column_count, "the columns of " + who, 4096);
  for (int64_t i = 0; i < t->column_count; ++i) {
    const microtome_column& c = t->columns[i];
    out.columns.push_back({text_of(c.name, "the name of a column of " + who, kNameBytes),
                           text_of(c.unit, "the unit of a column of " + who, kNameBytes, ""),
                           text_of(c.help, "the help of a column of " + who, kTextBytes, "")});
  }
  check_list(t->cells, t->row_count, "the rows of " + who);
  if (t->row_count > 0 && t->column_count == 0) throw Error(StatusCode::kBadInput, who + " has rows and no columns");
  for (int64_t r = 0; r < t->row_count; ++r) {
    std::vector<Cell> row;
    for (int64_t c = 0; c < t->column_count; ++c) {
      const microtome_cell& cell = t->cells[r * t->column_count + c];
      switch (cell.kind) {
        case MICROTOME_CELL_EMPTY:
          row.emplace_back();
          break;
        case MICROTOME_CELL_INTEGER:
          row.emplace_back(cell.integer);
          break;
        case MICROTOME_CELL_NUMBER:
          row.emplace_back(cell.number);
          break;
        case MICROTOME_CELL_TEXT:
          row.emplace_back(text_of(cell.text, "a cell of " + who, kTextBytes));
          break;
        default:
          throw Error(StatusCode::kBadInput, "a cell of " + who + " has the unknown kind " + std::to_string(cell.kind));
      }
    }
    out.rows.push_back(std::move(row));
  }
  return out;
}

TensorMap read_tensor_map(const microtome_tensor_map* m, const PluginAnalysis& analysis) {
  need(m, "the tensor map");
  TensorMap out;
  out.name = name_of(m->name, "a tensor map");
  std::string who = "tensor map '" + out.name + "'";
  out.title = text_of(m->title, "the title of " + who, kTextBytes);
  check_list(m->arrays, m->array_count, "the arrays of " + who, 4096);
  check_list(m->labels, m->label_count, "the axis labels of " + who, 4096);
  check_list(m->looks, m->look_count, "the looks of " + who, 4096);
  std::set<std::string> names;
  std::map<std::string, int64_t> axes;  // the longest of each name
  for (int64_t i = 0; i < m->array_count; ++i) {
    NamedArray a = read_array(&m->arrays[i], analysis);
    if (!names.insert(a.name).second) throw Error(StatusCode::kBadInput, who + " has two arrays '" + a.name + "'");
    for (size_t k = 0; k < a.axes.size(); ++k) axes[a.axes[k]] = std::max(axes[a.axes[k]], a.shape[k]);
    out.arrays.push_back(std::move(a));
  }
  for (int64_t i = 0; i < m->label_count; ++i) {
    const microtome_axis_labels& l = m->labels[i];
    std::string axis = name_of(l.axis, "a labelled axis");
    check_list(l.labels, l.count, "the labels of axis '" + axis + "'");
    auto it = axes.find(axis);
    if (it == axes.end()) throw Error(StatusCode::kBadInput, who + " labels axis '" + axis + "', which no array has");
    if (l.count < it->second)
      throw Error(StatusCode::kBadInput, "axis '" + axis + "' of " + who + " has " + std::to_string(it->second) +
                                             " places and " + std::to_string(l.count) + " labels");
    std::vector<std::string>& to = out.axis_labels[axis];
    for (int64_t k = 0; k < l.count; ++k)
      to.push_back(text_of(l.labels[k], "a label of axis '" + axis + "'", kTextBytes));
  }
  for (int64_t i = 0; i < m->look_count; ++i) {
    std::string array = name_of(m->looks[i].array, "a looked-at array"),
                look = text_of(m->looks[i].look, "a look", kNameBytes);
    if (!names.count(array))
      throw Error(StatusCode::kBadInput, who + " has a look for '" + array + "', which it does not hold");
    if (look != "sequential" && look != "diverging" && look != "pattern")
      throw Error(StatusCode::kBadInput,
                  "look '" + look.substr(0, 60) + "' of '" + array + "' is none of sequential, diverging, pattern");
    out.looks[array] = look;
  }
  return out;
}

Series read_series(const microtome_series* s) {
  need(s, "the series");
  Series out;
  out.name = name_of(s->name, "a series");
  std::string who = "series '" + out.name + "'";
  out.title = text_of(s->title, "the title of " + who, kTextBytes);
  out.x_label = text_of(s->x_label, "the x label of " + who, kNameBytes);
  out.y_label = text_of(s->y_label, "the y label of " + who, kNameBytes);
  check_list(s->lines, s->line_count, "the lines of " + who, 4096);
  for (int64_t i = 0; i < s->line_count; ++i) {
    const microtome_line& l = s->lines[i];
    std::string name = text_of(l.name, "the name of a line of " + who, kNameBytes);
    check_list(l.x, l.count, "the x values of line '" + name + "'", kManyNumbers);
    check_list(l.y, l.count, "the y values of line '" + name + "'", kManyNumbers);
    out.lines.push_back({name, numbers_of<double>(l.x, l.count), numbers_of<double>(l.y, l.count)});
  }
  return out;
}

SummaryItem read_summary(const microtome_summary* s) {
  need(s, "the summary line");
  SummaryItem out{};
  out.name = name_of(s->name, "a summary line");
  out.unit = text_of(s->unit, "the unit of '" + out.name + "'", kNameBytes, "");
  out.help = text_of(s->help, "the help of '" + out.name + "'", kTextBytes, "");
  out.value = s->value;
  out.low = s->low;
  out.high = s->high;
  out.n = s->n;
  if (std::isnan(s->low) != std::isnan(s->high) || s->n < 0)
    throw Error(StatusCode::kBadInput, "the interval of '" + out.name + "' has one end, or its n is negative");
  return out;
}

}  // namespace microtome::plugins
