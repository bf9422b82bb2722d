// selection.h — what is selected, one shared observable object: clicking a head anywhere shows it everywhere. Panels read
// it and set it; no panel knows another.
#pragma once

#include <QObject>
#include <QString>

namespace microtome::desktop {

// GUI thread only. A setter that changes nothing emits nothing.
class Selection : public QObject {
  Q_OBJECT
 public:
  explicit Selection(QObject* parent = nullptr) : QObject(parent) {}

  int model() const { return model_; }                 // slot of the session: 0, or 1 when comparing
  int layer() const { return layer_; }                 // -1: none
  int head() const { return head_; }                   // -1: none (a whole layer)
  int position() const { return position_; }           // query token, -1: none
  int keyPosition() const { return key_; }             // -1: none
  int prompt() const { return prompt_; }               // index into the session's dataset
  qint64 run() const { return run_; }                  // a run of the project, 0: none
  qint64 compareRun() const { return compareRun_; }    // a second run, to be seen beside run(); 0: none
  const QString& hookPoint() const { return hook_; }
  const QString& node() const { return node_; }        // of a graph: "a3.h1", "m2", a feature's name
  const QString& edge() const { return edge_; }        // "a0.h1->a3.h2<q>"

  void setModel(int slot);
  void setHead(int layer, int head);
  void setPosition(int query, int key = -1);
  void setPrompt(int index);
  void setRun(qint64 id);                              // another run ends a comparison
  void setCompareRun(qint64 id);                       // run() itself counts as none
  void setHookPoint(const QString& name);
  void setNode(const QString& name);
  void setEdge(const QString& name);

 Q_SIGNALS:
  void modelChanged(int slot);
  void headChanged(int layer, int head);
  void positionChanged(int query, int key);
  void promptChanged(int index);
  void runChanged(qint64 id);
  void compareRunChanged(qint64 id);
  void hookPointChanged(const QString& name);
  void nodeChanged(const QString& name);
  void edgeChanged(const QString& name);
  // After any of the above.
  void changed();

 private:
  int model_ = 0, layer_ = -1, head_ = -1, position_ = -1, key_ = -1, prompt_ = 0;
  qint64 run_ = 0, compareRun_ = 0;
  QString hook_, node_, edge_;
};

}  // namespace microtome::desktop
