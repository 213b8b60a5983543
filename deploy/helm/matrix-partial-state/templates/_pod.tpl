{{/* The security context of every pod; `uid` is the image's user. Takes the uid. */}}
{{- define "matrix-partial-state.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "matrix-partial-state.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* A probe's handler. Takes {root, service}: the name that grpc.health.v1 is asked for; empty is the whole process. */}}
{{- define "matrix-partial-state.probe" -}}
grpc:
  port: {{ include "matrix-partial-state.probedPort" .root }}
  {{- with .service }}
  service: {{ . }}
  {{- end }}
{{- end }}

{{/* The kubelet's gRPC probe speaks no TLS: behind TLS, health alone is served beside it without. */}}
{{- define "matrix-partial-state.probedPort" -}}
{{ ternary 7792 7790 (not (empty .Values.tls.secret)) }}
{{- end }}

{{/* How long a pod may take to end: what it waits for itself, and a margin for leases, connections and the embedded store. */}}
{{- define "matrix-partial-state.gracePeriod" -}}
{{ add .Values.lifecycle.preStopSeconds .Values.lifecycle.drainSeconds 30 }}
{{- end }}

{{/* The pod template of a role. Takes {root, role, component}: the role's name and its values. */}}
{{- define "matrix-partial-state.pod" -}}
{{- $root := .root -}}
metadata:
  labels:
    {{- include "matrix-partial-state.labels" (dict "root" $root "component" .role) | nindent 4 }}
    {{- with .component.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    # Settings are read once, at start: a change of them is a new pod. Not one of secrets: their digests would help to guess them.
    checksum/settings: {{ include "matrix-partial-state.settings" $root | sha256sum | quote }}
    {{- with .component.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "matrix-partial-state.serviceAccountName" $root | quote }}
  automountServiceAccountToken: false
  # A Service called partialstate would come as PARTIALSTATE_… variables, which are unknown settings.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ include "matrix-partial-state.gracePeriod" $root }}
  securityContext:
    {{- include "matrix-partial-state.podSecurityContext" 10001 | nindent 4 }}
  {{- with $root.Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: {{ .role }}
      image: {{ include "matrix-partial-state.image" (dict "image" $root.Values.image "tag" $root.Chart.AppVersion) | quote }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args: [serve]
      env:
        {{- include "matrix-partial-state.environment" (dict "root" $root "role" .role) | nindent 8 }}
      ports:
        - name: grpc
          containerPort: 7790
        {{- if $root.Values.metrics.enabled }}
        - name: metrics
          containerPort: 7791
        {{- end }}
        {{- if $root.Values.tls.secret }}
        - name: health
          containerPort: 7792
        {{- end }}
      # An embedded store is waited for before the first answer, half a minute at most; any other makes the pod unready, not unstarted.
      startupProbe:
        {{- include "matrix-partial-state.probe" (dict "root" $root) | nindent 8 }}
        periodSeconds: 2
        failureThreshold: 60
      livenessProbe:
        {{- include "matrix-partial-state.probe" (dict "root" $root) | nindent 8 }}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      readinessProbe:
        {{- include "matrix-partial-state.probe" (dict "root" $root "service" "ready") | nindent 8 }}
        periodSeconds: 5
        timeoutSeconds: 2
        failureThreshold: 2
      {{- with $root.Values.lifecycle.preStopSeconds }}
      lifecycle:
        preStop:
          sleep:
            seconds: {{ . }}
      {{- end }}
      {{- with .component.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext:
        {{- include "matrix-partial-state.containerSecurityContext" . | nindent 8 }}
      volumeMounts:
        - name: files
          mountPath: /etc/matrix-partial-state
          readOnly: true
        - name: tmp
          mountPath: /tmp
        {{- if eq $root.Values.store.kind "embedded" }}
        - name: data
          mountPath: /data
        {{- end }}
  volumes:
    - name: files
      projected:
        defaultMode: 0440
        sources:
          {{- include "matrix-partial-state.files" $root | nindent 10 }}
    - name: tmp
      emptyDir:
        sizeLimit: 64Mi
    {{- if eq $root.Values.store.kind "embedded" }}
    - name: data
      persistentVolumeClaim:
        claimName: {{ include "matrix-partial-state.fullname" $root }}-data
    {{- end }}
  # Replicas of a role on different nodes where there are some.
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "matrix-partial-state.selector" (dict "root" $root "component" .role) | nindent 10 }}
  {{- with .component.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .component.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .component.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
