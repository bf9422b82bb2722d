#include "app/desktop/panels/graph_edits.h"

#include <QPointer>
#include <QUndoCommand>
#include <cmath>

#include "app/desktop/views/label_text.h"
#include "core/base/json.h"

namespace microtome::desktop {
namespace {

// A project is a file from anywhere.
constexpr size_t kMostBytes = 4u << 20, kMostNodes = 20'000, kMostName = 200;
constexpr qsizetype kMostText = 2000;
constexpr double kFarthest = 1e6;

std::optional<QString> textOf(const Json& node, const char* key) {
  const auto at = node.find(key);
  if (at == node.end() || !at->is_string()) return std::nullopt;
  return QString::fromStdString(at->get<std::string>()).left(kMostText);
}

class EditGraph : public QUndoCommand {
 public:
  EditGraph(const QString& text, std::function<void()> forth, std::function<void()> back)
      : QUndoCommand(text), forth_(std::move(forth)), back_(std::move(back)) {}
  void redo() override { forth_(); }
  void undo() override { back_(); }

 private:
  std::function<void()> forth_, back_;
};

}  // namespace

std::string editsToJson(const GraphEdits& edits) {
  Json nodes = Json::object();
  for (const auto& [name, edit] : edits) {
    Json node = Json::object();
    if (edit.pin) node["pin"] = {edit.pin->x(), edit.pin->y()};
    if (edit.note) node["note"] = edit.note->toStdString();
    if (edit.group) node["group"] = edit.group->toStdString();
    nodes[name] = std::move(node);
  }
  return Json{{"version", 1}, {"nodes", std::move(nodes)}}.dump(-1, ' ', false, Json::error_handler_t::replace);
}

GraphEdits editsFromJson(const std::string& text) {
  GraphEdits out;
  if (text.empty() || text.size() > kMostBytes) return out;
  const Result<Json> json = parse_json(text, "graph edits");
  if (!json || !json.value().is_object()) return out;
  const auto nodes = json.value().find("nodes");
  if (nodes == json.value().end() || !nodes->is_object()) return out;
  for (const auto& [name, node] : nodes->items()) {
    if (out.size() >= kMostNodes) break;
    if (!node.is_object() || name.size() > kMostName) continue;
    NodeEdit edit;
    if (const auto pin = node.find("pin"); pin != node.end() && pin->is_array() && pin->size() == 2 && (*pin)[0].is_number() && (*pin)[1].is_number()) {
      const double x = (*pin)[0].get<double>(), y = (*pin)[1].get<double>();
      if (std::abs(x) <= kFarthest && std::abs(y) <= kFarthest) edit.pin = QPointF(x, y);
    }
    edit.note = textOf(node, "note");
    edit.group = textOf(node, "group");
    if (!edit.isEmpty()) out[name] = edit;
  }
  return out;
}

void StoredGraphEdits::open(qint64 run, const std::string& artifact) {
  if (run == run_ && artifact == artifact_) return;
  run_ = run;
  artifact_ = artifact;
  current_.clear();
  const int ticket = ++ticket_;
  const std::shared_ptr<ResultStore> store = session_.store();
  if (run == 0 || !store) return;
  session_.post(
      tr("Reading a graph's notes"), QStringLiteral("store"), this,
      [store, run, key = keyOf(artifact)](Progress&) { return editsFromJson(store->context(run, key).value()); },
      [this, ticket](const Result<GraphEdits>& read) {
        // A failure is said when the run itself is read; an edit made meanwhile is newer than what is stored.
        if (ticket != ticket_ || !read || read.value().empty()) return;
        current_ = read.value();
        Q_EMIT changed();
      });
}

void StoredGraphEdits::change(const GraphEdits& edits, const QString& what) {
  if (edits == current_) return;
  const QPointer<StoredGraphEdits> self(this);
  const auto step = [self, run = run_, artifact = artifact_](const GraphEdits& to) {
    return [self, run, artifact, to] {
      if (self) self->apply(run, artifact, to);
    };
  };
  session_.undoStack().push(new EditGraph(what, step(edits), step(current_)));
}

void StoredGraphEdits::apply(qint64 run, const std::string& artifact, const GraphEdits& edits) {
  if (run == run_ && artifact == artifact_) {
    ++ticket_;
    current_ = edits;
    Q_EMIT changed();
  }
  const std::shared_ptr<ResultStore> store = session_.store();
  if (run == 0 || !store) return;
  session_.post(
      tr("Writing a graph's notes"), QStringLiteral("store"), this,
      [store, run, key = keyOf(artifact), text = editsToJson(edits)](Progress&) {
        if (Status s = store->put_context(run, key, text); !s) throw Error(s);
      },
      [this](const Status& s) {
        if (!s && s.code() != StatusCode::kCancelled) Q_EMIT session_.problem(QStringLiteral("project"), labelText(s.text(), 300));
      });
}

}  // namespace microtome::desktop
