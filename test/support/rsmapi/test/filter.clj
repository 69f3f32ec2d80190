(ns rsmapi.test.filter
  "System calls that are answered without being made, as sandboxes and emulators do, by a
  seccomp filter on one thread.

    (filter/under [[:madvise {2 23} 0]] #(rsm/unpublish! ex))

  A rule is a call, what its arguments have to be (by index; [:> n] is for numbers above n), and
  the errno that it then fails with, or 0 for a success that does nothing. The function runs in a
  new thread. It, and the threads that it starts, have the filter as long as they live; others
  do not."
  (:import (com.sun.jna Function Memory NativeLibrary)))

(set! *warn-on-reflection* true)

(def ^:private arch (System/getProperty "os.arch"))

(def ^:private audit-arch {"amd64" 0xC000003E, "aarch64" 0xC00000B7})

(def ^:private numbers
  (into {}
        (for [[call amd64 aarch64]
              [[:read 0 63] [:write 1 64] [:poll 7 73] [:lseek 8 62] [:mmap 9 222] [:mprotect 10 226] [:ioctl 16 29]
               [:pwrite 18 68] [:madvise 28 233] [:socket 41 198] [:connect 42 203] [:sendmsg 46 211] [:recvmsg 47 212]
               [:shutdown 48 210] [:bind 49 200] [:listen 50 201] [:socketpair 53 199] [:setsockopt 54 208]
               [:getsockopt 55 209] [:fcntl 72 25] [:ftruncate 77 46] [:fchmod 91 52] [:umask 95 166] [:geteuid 107 175]
               [:getegid 108 177] [:fstatfs 138 44] [:mlock 149 228] [:io-setup 206 0] [:io-destroy 207 1]
               [:io-submit 209 2] [:epoll-wait 232 22] [:epoll-ctl 233 21] [:openat 257 56] [:fallocate 285 47]
               [:accept4 288 242] [:eventfd2 290 19] [:epoll-create1 291 20] [:prlimit64 302 261]
               [:memfd-create 319 279] [:preadv2 327 286] [:statx 332 291]]]
          [call (get {"amd64" amd64 "aarch64" aarch64} arch)])))

;; struct seccomp_data
(def ^:private nr-at 0)
(def ^:private arch-at 4)
(defn- arg-at [i] (+ 16 (* 8 (long i))))

;; instructions: code, jump if true, jump if false, constant
(defn- load-word [at] [0x20 0 0 at])
(defn- equal? [k t f] [0x15 t f k])
(defn- above? [k t f] [0x25 t f k])
(defn- answer [k] [0x06 0 0 k])

(def ^:private allow 0x7fff0000)
(def ^:private fail 0x00050000)

(defn- rule-code [[call args errno]]
  (let [test   (fn [want t f] (if (sequential? want) (above? (second want) t f) (equal? want t f)))
        checks (into [[nr-at (numbers call)]] (map (fn [[i want]] [(arg-at i) want])) args)
        n      (count checks)]
    (conj (into [] (mapcat (fn [k [at want]]
                             ;; to the next check, or behind the answer
                             [(load-word at) (test want 0 (inc (* 2 (- n (long k) 1))))])
                           (range) checks))
          (answer (bit-or (long fail) (long errno))))))

(defn- program [rules]
  (-> [(load-word arch-at) (equal? (audit-arch arch) 1 0) (answer allow)]
      (into (mapcat rule-code) rules)
      (conj (answer allow))))

(defn- call [name & args]
  (let [^Function f (.getFunction (NativeLibrary/getProcess) name)]
    (long (.invokeInt f (object-array args)))))

(defn- install! [rules]
  (let [code  (program rules)
        block (Memory. (* 8 (count code)))
        prog  (Memory. 16)]
    (doseq [[i [op t f k]] (map-indexed vector code)]
      (let [at (* 8 (long i))]
        (.setShort block at (short op))
        (.setByte block (+ at 2) (byte t))
        (.setByte block (+ at 3) (byte f))
        (.setInt block (+ at 4) (unchecked-int k))))
    (.clear prog)
    (.setShort prog 0 (short (count code)))
    (.setPointer prog 8 block)
    (when-not (and (zero? (call "prctl" (int 38) 1 0 0 0))        ; PR_SET_NO_NEW_PRIVS
                   (zero? (call "prctl" (int 22) 2 prog 0 0)))    ; PR_SET_SECCOMP, a filter
      (throw (IllegalStateException. "no filter can be installed")))))

(defn under
  "What f returns or throws, when it runs in a thread with these rules."
  [rules f]
  (let [result (promise)]
    (.start (Thread. ^Runnable (fn []
                                 (deliver result (try (install! rules)
                                                      {:value (f)}
                                                      (catch Throwable t {:thrown t}))))))
    (let [{:keys [value thrown]} (deref result 15000 {:thrown (IllegalStateException. "it hangs")})]
      (if thrown (throw thrown) value))))

(defn obstacle
  "Why there cannot be filters here, or nil."
  []
  (if (nil? (audit-arch arch))
    (str "the numbers of the calls of " arch " are not known")
    (try
      (under [] (constantly nil))
      (catch IllegalStateException e (.getMessage e)))))
