{{/* Refuses values that the schema cannot refuse because they contradict each other, or must not because its errors would show secrets. */}}
{{- define "matrix-partial-state.agreement" -}}
{{- $values := .Values -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" .Release.Name) -}}
{{- fail (printf "the release is called %s, which can be no part of a Service's name: use small letters, digits and -, and begin with a letter" .Release.Name) -}}
{{- end -}}
{{- if eq (empty .Values.signing.key) (empty .Values.signing.target) -}}
{{- fail "one of signing.key and signing.target must be set" -}}
{{- end -}}
{{- if not (or .Values.tls.requireClientCertificate .Values.tokens .Values.allowInsecure) -}}
{{- fail "set tokens or tls.requireClientCertificate, or allowInsecure if the network protects the service" -}}
{{- end -}}
{{- if and .Values.signing.target (not .Values.signing.caCertificates) (not .Values.allowInsecure) -}}
{{- fail "signing.target needs signing.caCertificates, or allowInsecure if the network protects it" -}}
{{- end -}}
{{- if and (eq .Values.mode "split") (eq (dig "resync_workers" 1 .Values.settings | int) 0) -}}
{{- fail "settings.resync_workers must be at least 1 with mode split, whose pods of resync do nothing else" -}}
{{- end -}}
{{- if and .Values.tls.requireClientCertificate (not .Values.tls.secret) -}}
{{- fail "tls.requireClientCertificate needs tls.secret" -}}
{{- end -}}
{{- with .Values.store -}}
{{- if and (eq .kind "bundled") (not .bundled.password) -}}
{{- fail "store.bundled.password must be set" -}}
{{- end -}}
{{- with and (eq .kind "bundled") .bundled.password.value -}}
{{- if not (regexMatch "^[A-Za-z0-9._~-]{16,}$" .) -}}
{{- fail "store.bundled.password.value must be 16 characters or more of letters, digits and -._~, because it becomes part of a URL" -}}
{{- end -}}
{{- end -}}
{{- if and (eq .kind "external") (not .external.url) -}}
{{- fail "store.external.url must be set" -}}
{{- end -}}
{{- if and (eq .kind "external") (ne (empty .external.password) (not (contains "$(STORE_PASSWORD)" (.external.url.value | default "")))) -}}
{{- fail "store.external.password and $(STORE_PASSWORD) in store.external.url.value belong together" -}}
{{- end -}}
{{- if eq .kind "external" -}}
{{- include "matrix-partial-state.storeUrlAgreement" .external -}}
{{- end -}}
{{- if eq .kind "embedded" -}}
{{- if or (ne $values.mode "all") (ne (int $values.all.replicas) 1) $values.all.autoscaling.enabled -}}
{{- fail "store.kind embedded needs mode all with one replica: a second pod could not see the first one's rooms" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $role := include "matrix-partial-state.roles" . | splitList " " -}}
{{- with index $values $role -}}
{{- if and .autoscaling.enabled (not (dig "requests" "cpu" "" .resources)) -}}
{{- fail (printf "%s.autoscaling needs %s.resources.requests.cpu" $role $role) -}}
{{- end -}}
{{- if and .autoscaling.enabled (gt (int .autoscaling.minReplicas) (int .autoscaling.maxReplicas)) -}}
{{- fail (printf "%s.autoscaling.minReplicas is above maxReplicas" $role) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}
