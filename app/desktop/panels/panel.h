// panel.h — one place of the window. A panel is a folder of app/desktop/panels with panel.cc that defines
// register_<folder>(Registry&); nothing else is edited to add one. Panels know the session and the views, never one another.
#pragma once

#include <QString>
#include <QWidget>
#include <functional>
#include <vector>

class QLabel;
class QVBoxLayout;

namespace microtome::desktop {

class Session;
class View;

enum class PanelArea { kLeft, kTop, kCentre, kRight, kBottom };

struct PanelInfo {
  QString id;                          // "attention": the folder's name
  QString title;                       // "Attention"
  QString help;                        // one sentence: what a person does there
  PanelArea area = PanelArea::kCentre;
  int order = 0;                       // within the area, ascending
  QString shortcut;                    // "Ctrl+3"; empty: none
};

// The common frame: a bar for problems and notices at the top (never a modal box), then the content. Derived classes fill
// body().
class Panel : public QWidget {
  Q_OBJECT
 public:
  Panel(Session& session, const PanelInfo& info, QWidget* parent);
  const PanelInfo& info() const { return info_; }
  Session& session() const { return session_; }
  QVBoxLayout* body() const { return body_; }

  // One sentence with what to do; closes by its cross or with clearBar(). A problem is red, a notice calm.
  void showProblem(const QString& sentence);
  void showNotice(const QString& sentence);
  void clearBar();
  // Connects a view's messages, hover text and notes to the window.
  void adopt(View* view);
  // Views on show that a report may take, in reading order.
  virtual std::vector<View*> views() const { return {}; }
  // Layout of this panel's own splitters and choices, kept between starts.
  virtual QByteArray saveState() const { return {}; }
  virtual void restoreState(const QByteArray& state) { (void)state; }

 Q_SIGNALS:
  void hoverText(const QString& text);                 // to the status line
  void noteWanted(qint64 run, const QString& artifact);

 protected:
  // Called when the panel comes to the front, and when what it shows may have changed while it was hidden. Cheap when
  // nothing changed. Panels start their light analyses here and nowhere else, so that hidden panels cost nothing.
  virtual void refresh() {}
  // Asks for refresh(): at once when visible, else when next shown.
  void scheduleRefresh();
  void showEvent(QShowEvent* event) override;

 private:
  Session& session_;
  PanelInfo info_;
  QWidget* bar_;
  QLabel* barText_;
  QVBoxLayout* body_;
  bool stale_ = true, scheduled_ = false;
};

// A calm text in the middle of an empty panel: what to do next, and the button that does it (may be empty).
class EmptyState : public QWidget {
  Q_OBJECT
 public:
  EmptyState(const QString& headline, const QString& sentence, const QString& button, QWidget* parent = nullptr);
  void setText(const QString& headline, const QString& sentence, const QString& button = {});

 Q_SIGNALS:
  void pressed();

 private:
  QLabel *headline_, *sentence_;
  class QPushButton* button_;
};

struct PanelKind {
  PanelInfo info;
  std::function<Panel*(Session&, QWidget* parent)> create;
};

}  // namespace microtome::desktop
