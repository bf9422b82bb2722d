// graph_edits.h — what a person did to a stored graph's picture: where nodes were pinned, notes, groups. Kept in the project beside the run
// (as a context of its own, so that it is no note of the run), read when the graph is shown, every edit undoable.
#pragma once

#include <QObject>
#include <QPointF>
#include <QString>
#include <map>
#include <optional>
#include <string>

#include "app/desktop/session/session.h"

namespace microtome::desktop {

struct NodeEdit {
  std::optional<QPointF> pin;          // centre, in the graph's units
  std::optional<QString> note, group;  // none: as the analysis has it
  bool operator==(const NodeEdit&) const = default;
  bool isEmpty() const { return !pin && !note && !group; }
};
using GraphEdits = std::map<std::string, NodeEdit>;    // by the node's name; without empty ones

// JSON: {"version": 1, "nodes": {"a0.h1": {"pin": [x, y], "note": "…", "group": "…"}}}. What is malformed or beyond all measure is left out.
std::string editsToJson(const GraphEdits& edits);
GraphEdits editsFromJson(const std::string& text);

class StoredGraphEdits : public QObject {
  Q_OBJECT
 public:
  // kind: "circuit" or another kind of graph, under which the project keeps the edits.
  StoredGraphEdits(Session& session, const char* kind, QObject* parent) : QObject(parent), session_(session), kind_(kind) {}
  // Which graph is shown; run 0: none that is stored. Read in the lane "store"; changed() follows when there are edits.
  void open(qint64 run, const std::string& artifact);
  // Of the graph that is shown.
  const GraphEdits& current() const { return current_; }
  // A person's edit: into the project and onto the undo stack. Without a stored run it is kept as long as the graph is shown.
  void change(const GraphEdits& edits, const QString& what);

 Q_SIGNALS:
  void changed();

 private:
  void apply(qint64 run, const std::string& artifact, const GraphEdits& edits);
  std::string keyOf(const std::string& artifact) const { return kind_ + "_edits:" + artifact; }
  Session& session_;
  std::string kind_;
  qint64 run_ = 0;
  std::string artifact_;
  GraphEdits current_;
  int ticket_ = 0;
};

}  // namespace microtome::desktop
