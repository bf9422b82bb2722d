// param_form.h — a form made from a parameter schema, for every analysis, built in or plug-in. What costs time only stands
// in a folded section "Speed", what is rarely changed in one called "More". What differs from its default is marked and can be
// taken back by itself. A parameter that names a file or folder has a button that looks for it.
#pragma once

#include <QString>
#include <QWidget>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/base/params.h"

namespace microtome::desktop {

class ParamForm : public QWidget {
  Q_OBJECT
 public:
  explicit ParamForm(QWidget* parent = nullptr);
  ~ParamForm() override;

  // Everything at its default. Emits nothing. first: the parameters that matter most, in this order, before all others, which
  // are then folded; names that the schema lacks are passed over. Empty: all stand in the schema's order.
  void setSchema(const ParamSchema& schema, const std::vector<std::string>& first = {});
  // Only what differs from the default, as resolve_params() takes it.
  std::map<std::string, std::string> values() const;
  // Others go to their defaults; unknown names are ignored. A value that its parameter can't have is kept, shown as a
  // problem and makes the form invalid until it is changed: it is never replaced in silence.
  void setValues(const std::map<std::string, std::string>& given);
  void reset();
  // False with one sentence in `why` (may be null).
  bool isValid(QString* why) const;
  void setSpeedOpen(bool open);
  void setMoreOpen(bool open);

 Q_SIGNALS:
  // After an edit, and once after a setValues() or reset() that changed something.
  void changed();

 protected:
  bool eventFilter(QObject* object, QEvent* event) override;
  void changeEvent(QEvent* event) override;
  void resizeEvent(QResizeEvent* event) override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace microtome::desktop
