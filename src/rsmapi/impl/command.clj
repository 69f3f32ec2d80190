(ns rsmapi.impl.command
  "The commands of rsmapi.cli and rsmapi.tool. Each takes a map of options and a style (see
  rsmapi.impl.show), prints, and returns data. All failures are RSM errors."
  (:require [rsmapi.impl.args :as args]
            [rsmapi.impl.command.change :as change]
            [rsmapi.impl.command.common :as common]
            [rsmapi.impl.command.host :as host]
            [rsmapi.impl.command.look :as look]
            [rsmapi.impl.command.watch :as watch]))

(set! *warn-on-reflection* true)
(set! *unchecked-math* :warn-on-boxed)

(def ^:private commands
  "The function of each command, and its options."
  {:ls       [look/ls #{:node}]
   :stat     [look/stat common/connect-options]
   :dump     [look/dump (conj common/connect-options :offset :length :layout)]
   :watch    [watch/watch (conj common/connect-options :offset :length :layout :interval-ms :changes)]
   :put      [change/put (conj common/connect-options :offset :type :value :byte-order :layout :field :signal)]
   :export   [change/export #{:controller :node :file :id :perm}]
   :key      [host/key-of-host #{:file :make :days}]
   :gateway  [host/gateway #{:controller :status :timeout-ms}]
   :topology [host/topology #{}]
   :errors   [look/errors #{:code}]})

(defn perform
  "Runs a command (a keyword): prints, and returns data."
  [command opts style]
  (let [[run options] (commands command)]
    (run (args/options opts options (name command)) style)))
